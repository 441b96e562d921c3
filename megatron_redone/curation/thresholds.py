"""The thresholds of a curation, what each would cost at which value, and the file in which a person approves them."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from megatron_redone.config.curate import CurateConfig, Deduplicate, Mode, SourceKind
from megatron_redone.config.field import facts_of, out_of_range
from megatron_redone.config.schema import work_hash
from megatron_redone.errors import UserError
from megatron_redone.formats.atomic import write_text

FILE = "thresholds.yaml"

_SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_SHORT = (4, 8, 12, 16, 24, 32, 48, 64, 100, 200)
_LONG = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
_LIKE = (0.5, 0.6, 0.7, 0.8, 0.9)

_HEAD = """\
# Written by `redone curate mode=measure`. Look at what each step would drop (measured.txt beside this file), change
# what is to be changed, and set `approved: true`. Then `redone curate mode=apply approved_file=THIS FILE` takes it.
"""


@dataclass(frozen=True)
class Threshold:
    """One number that decides who goes.

    Attributes:
        section: Of the configuration.
        key: In it.
        step: Whose it is, by its name in the funnel.
        drops_above: Whether what is above it goes, rather than what is below; what equals it stays.
        values: Others that are looked at.
        kind: Of the sources that it is for; None for all.
    """

    section: str
    key: str
    step: str
    drops_above: bool
    values: tuple[float, ...]
    kind: SourceKind | None = None

    @property
    def name(self) -> str:
        """`length.max`."""
        return f"{self.section}.{self.key}"

    def of(self, config: CurateConfig) -> float:
        """What it is in a configuration."""
        return getattr(getattr(config, self.section), self.key)

    def looked_at(self, config: CurateConfig) -> list[float]:
        """Its value and others, rising."""
        return sorted({*self.values, self.of(config)})

    def drops(self, measured: float, value: float) -> bool:
        """Whether a document goes at a value."""
        return measured > value if self.drops_above else measured < value


THRESHOLDS = (
    Threshold("advertising", "max_links", "advertising", True, (0, 1, 2, 3, 5, 10), SourceKind.social),
    Threshold("advertising", "max_link_fraction", "advertising", True, _SHARES),
    Threshold("repetition", "top_unit", "repetition", True, _SHARES),
    Threshold("repetition", "repeated_ngrams", "repetition", True, _SHARES),
    Threshold("repetition", "repeated_lines", "repetition", True, _SHARES),
    Threshold("repetition", "emoji", "repetition", True, _SHARES),
    Threshold("length", "min_social", "length", False, _SHORT, SourceKind.social),
    Threshold("length", "min_general", "length", False, _SHORT, SourceKind.general),
    Threshold("length", "max", "length", True, _LONG),
)
NEAR = Threshold("minhash", "min_jaccard", "near", False, _LIKE)


def thresholds_of(config: CurateConfig) -> list[Threshold]:
    """Those that a configuration has."""
    return [*THRESHOLDS, *([NEAR] if config.deduplicate is Deduplicate.minhash else [])]


def measured_hash(config: CurateConfig, *facts: Any) -> str:
    """Of everything that decides what is measured: settings but thresholds, and input."""
    defaults = CurateConfig(sources=config.sources, output_dir=config.output_dir)
    fixed: dict[str, Any] = {}
    for one in (*THRESHOLDS, NEAR):
        section = fixed.get(one.section, getattr(config, one.section))
        fixed[one.section] = dataclasses.replace(section, **{one.key: one.of(defaults)})
    same = {"mode": Mode.run, "approved_file": None, "measure": defaults.measure, "held_out": defaults.held_out}
    return work_hash(dataclasses.replace(config, **fixed, **same), *facts)


def write_thresholds(path: Path, config: CurateConfig, steps: list[str], measured: str) -> None:
    """Writes the file that is to be approved, unless one of the same measurement is there."""
    if path.exists() and _read(path).get("measured") == measured:
        return
    content = {step: {"approved": False, **dict(_values(config, step))} for step in steps}
    write_text(path, _HEAD + yaml.safe_dump({"measured": measured, "steps": content}, sort_keys=False))


def _values(config: CurateConfig, step: str) -> Iterator[tuple[str, float]]:
    return ((one.name, one.of(config)) for one in thresholds_of(config) if one.step == step)


def approved_config(config: CurateConfig, steps: list[str], measured: str) -> CurateConfig:
    """The configuration with the thresholds that a person has approved, to be run.

    Args:
        config: With the name of the file.
        steps: That drop documents.
        measured: Its `measured_hash`.

    Raises:
        UserError: the file is not there or no such file, is of another measurement, or a step is not approved.
    """
    assert config.approved_file is not None, "checked by the configuration"
    path = Path(config.approved_file)
    content = _read(path)
    if content.get("measured") != measured:
        raise UserError(f"{path}: was measured on other input or with other settings; run mode=measure once more")
    by_step = content.get("steps")
    if not isinstance(by_step, dict) or not all(isinstance(values, dict) for values in by_step.values()):
        raise UserError(f"{path}: has no steps; run mode=measure once more")
    if waiting := [step for step in steps if by_step.get(step, {}).get("approved") is not True]:
        raise UserError(f"{path}: {', '.join(waiting)} not approved; look at what would go and set approved: true")
    known = {one.name: one for one in thresholds_of(config)}
    changed: dict[str, Any] = {}
    for step, values in by_step.items():
        for name, value in values.items():
            if name == "approved":
                continue
            if name not in known or known[name].step != step:
                raise UserError(f"{path}: {name} is no threshold of the step '{step}'")
            section = changed.get(known[name].section, getattr(config, known[name].section))
            changed[known[name].section] = _replaced(path, section, known[name], value)
    return dataclasses.replace(config, **changed, mode=Mode.run, approved_file=None)


def _replaced(path: Path, section: Any, threshold: Threshold, value: Any) -> Any:
    kind = type(getattr(section, threshold.key))
    if isinstance(value, bool) or not isinstance(value, int | float) or (kind is int and value % 1):
        raise UserError(f"{path}: {threshold.name} is {value!r}, not a number")
    facts = next(facts_of(field) for field in dataclasses.fields(section) if field.name == threshold.key)
    if problem := out_of_range(facts, value):
        raise UserError(f"{path}: {threshold.name}: {problem}")
    return dataclasses.replace(section, **{threshold.key: kind(value)})


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise UserError(f"approved_file: {path} cannot be read ({problem.strerror}); mode=measure writes it") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise UserError(f"{path}: not valid YAML; run mode=measure once more") from None
    return content if isinstance(content, dict) else {}
