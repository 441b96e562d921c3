"""The sources of an evaluation as tasks that any model can be given."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from megatron_redone import __version__
from megatron_redone.config.evaluate import (
    ConversationSource,
    EvaluateConfig,
    HeldOutSource,
    PreferenceSource,
)
from megatron_redone.evaluation.bits_per_byte import evaluate_texts
from megatron_redone.evaluation.exact_match import evaluate_answers
from megatron_redone.evaluation.examples import Examples, read_conversations, read_pairs, read_texts
from megatron_redone.evaluation.metric_definitions import Kind, Metric
from megatron_redone.evaluation.pair_accuracy import evaluate_pairs
from megatron_redone.generation.hf_model import LoadedModel
from megatron_redone.generation.log_probabilities import Advance, BatchLimits
from megatron_redone.hashing import short_hash

Results = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What a task of lm-evaluation-harness has besides.

    Attributes:
        path: Where it stands among the subsets of its benchmark, such as `mrc/simple`.
        headlines: The metrics that means are taken of; none takes the first.
        variant_of: The path of the source whose items these are, with other texts; its own where they are as they were.
        metrics: Takes results; gives the metrics of them.
        shares: Takes a model's results; says what share of its answers parses, and what share is the commonest one.
        without_model: What rules get that need no model, by rule and metric.
        evaluate: As that of the task, with a place where responses are kept as they come.
    """

    path: str
    headlines: list[str]
    variant_of: str
    metrics: Callable[[Results], list[Metric]]
    shares: Callable[[Results], dict[str, Any]]
    without_model: Callable[[], dict[str, dict[str, float]]]
    evaluate: Callable[..., Results]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A source and how a model is evaluated on it.

    Attributes:
        kind: What the source is made of.
        name: Of the source.
        side: Its group or its capability; empty for preferences.
        source: What was read.
        settings: Everything beside source and model that results depend on.
        evaluate: Takes a model, and what is called after each batch; gives one result an example.
        benchmark: What a benchmark has besides.
    """

    kind: Kind
    name: str
    side: str
    source: Examples[Any]
    settings: dict[str, Any]
    evaluate: Callable[[LoadedModel, Advance], Results]
    benchmark: Benchmark | None = None

    @property
    def file_name(self) -> str:
        """Under which results are kept."""
        return f"{self.kind.name}.{self.name}".replace("/", "-")

    def work(self, fingerprint: str, place: str) -> str:
        """Sixteen hexadecimal digits that change when a model's results on this task may.

        Args:
            fingerprint: Of the model.
            place: Device and type that it is computed in.
        """
        files = [dataclasses.asdict(file) for file in self.source.files]
        decides = [__version__, self.kind.name, self.settings, files, fingerprint, place]
        return short_hash(decides)


def build_tasks(config: EvaluateConfig) -> Iterator[Task]:
    """Reads the sources, in the order of the configuration.

    Raises:
        UserError: a source that has not one good record.
    """
    limits = BatchLimits(config.batch_size, config.batch_tokens)
    for texts in config.held_out:
        yield _held_out(config, texts, limits)
    for pairs in config.preferences:
        yield _preferences(config, pairs, limits)
    for conversations in config.conversations:
        yield _conversations(config, conversations, limits)


def _held_out(config: EvaluateConfig, source: HeldOutSource, limits: BatchLimits) -> Task:
    taken, draw = _draw(config, source.max_records)
    examples = read_texts(source.path, source.text_key, source.max_characters, *taken)
    reading: dict[str, Any] = {"window": config.window, "stride": config.stride}
    return Task(
        kind=Kind.held_out,
        name=source.label,
        side=source.group.name,
        source=examples,
        settings={**reading, **draw, "text_key": source.text_key, "max_characters": source.max_characters},
        evaluate=lambda model, advance: evaluate_texts(
            model, examples.examples, **reading, limits=limits, advance=advance
        ),
    )


def _preferences(config: EvaluateConfig, source: PreferenceSource, limits: BatchLimits) -> Task:
    taken, draw = _draw(config, source.max_records)
    examples = read_pairs(source.path, *taken)
    return Task(
        kind=Kind.preferences,
        name=source.label,
        side="",
        source=examples,
        settings={"max_tokens": config.max_tokens, **draw},
        evaluate=lambda model, advance: evaluate_pairs(
            model, examples.examples, max_tokens=config.max_tokens, limits=limits, advance=advance
        ),
    )


def _conversations(config: EvaluateConfig, source: ConversationSource, limits: BatchLimits) -> Task:
    taken, draw = _draw(config, source.max_records)
    examples = read_conversations(source.path, *taken)
    answering: dict[str, Any] = {
        "expects_items": source.expects_items,
        "max_new_tokens": source.max_new_tokens,
        "max_tokens": config.max_tokens,
    }
    return Task(
        kind=Kind.conversations,
        name=source.label,
        side=source.capability,
        source=examples,
        settings={**answering, **draw},
        evaluate=lambda model, advance: evaluate_answers(
            model, examples.examples, **answering, limits=limits, advance=advance
        ),
    )


def _draw(config: EvaluateConfig, limit: int | None) -> tuple[tuple[int, int], dict[str, Any]]:
    """Limit and seed, as arguments and as settings."""
    taken = (config.max_records if limit is None else limit, config.sample_seed)
    return taken, dict(zip(("max_records", "sample_seed"), taken, strict=True))
