"""What a training run's folder tells: its figures by step, and its configuration."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_redone.config.loader import flat_values
from megatron_redone.metrics.metrics_file import recorded_metrics
from megatron_redone.metrics.progress import VALIDATION

FINE_TUNING = "supervised fine-tuning"


@dataclass(frozen=True, kw_only=True)
class Series:
    """A figure over steps."""

    steps: list[float]
    values: list[float]

    @property
    def first(self) -> float:
        """At the beginning."""
        return self.values[0]

    @property
    def last(self) -> float:
        """At the end."""
        return self.values[-1]


@dataclass(frozen=True, kw_only=True)
class RunHistory:
    """A run.

    Attributes:
        name: In the report.
        path: Its folder.
        kind: The stage, in words.
        config_yaml: The resolved configuration; empty where the file is missing.
        train: Figures by name: `loss`, `learning_rate`, ...
        validation: Figures of each source by name: `loss`, `perplexity`, ...
    """

    name: str
    path: str
    kind: str
    config_yaml: str
    train: Mapping[str, Series]
    validation: Mapping[str, Mapping[str, Series]]

    @property
    def steps(self) -> int:
        """The last step that was reported."""
        everything = [*self.train.values(), *(s for figures in self.validation.values() for s in figures.values())]
        return int(max((series.steps[-1] for series in everything), default=0))

    @property
    def tokens(self) -> int | None:
        """Tokens read, over all processes."""
        consumed = self.train.get("consumed_tokens")
        return None if consumed is None else int(consumed.last)

    @property
    def seconds(self) -> float | None:
        """Time spent in steps, without validation and saving."""
        per_step = self.train.get("seconds_per_step")
        if per_step is None:
            return None
        before = [0.0, *per_step.steps]
        return sum(
            (step - start) * value for step, start, value in zip(per_step.steps, before, per_step.values, strict=False)
        )


def read_run(folder: Path, name: str) -> RunHistory:
    """Reads metrics.jsonl and config.yaml; a line that a killed run left unfinished is passed over.

    Raises:
        OSError: there is no metrics.jsonl.
    """
    train: dict[str, Series] = {}
    validation: dict[str, dict[str, Series]] = {}
    with open(folder / "metrics.jsonl", "rb") as stream:
        for step, figures in recorded_metrics(stream):
            for figure, value in figures.items():
                if figure.startswith(VALIDATION):
                    source, _, measure = figure.removeprefix(VALIDATION).rpartition("/")
                    _append(validation.setdefault(source, {}), measure, step, value)
                else:
                    _append(train, figure, step, value)
    config = folder / "config.yaml"
    config_yaml = config.read_text(encoding="utf-8") if config.is_file() else ""
    return RunHistory(
        name=name,
        path=str(folder),
        kind=_kind(flat_values(config_yaml)) if config_yaml else "training",
        config_yaml=config_yaml,
        train=train,
        validation=validation,
    )


def _append(series: dict[str, Series], name: str, step: int, value: float) -> None:
    one = series.setdefault(name, Series(steps=[], values=[]))
    one.steps.append(step)
    one.values.append(value)


def _kind(config: Mapping[str, Any]) -> str:
    """Which stage wrote a configuration, by a key that it alone has."""
    if "data.validation_pairs" in config:
        return "preference optimisation"
    if "data.validation_rows" in config:
        return FINE_TUNING
    return "pretraining" if config.get("init_from") is None else "continued pretraining"
