"""evaluation.json as tables: models side by side, for Markdown, for the terminal and for the report's page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from megatron_redone.evaluation.metric_definitions import BITS_PER_BYTE, Kind
from megatron_redone.evaluation.model_pairs import ModelPair, model_pairs
from megatron_redone.evaluation.value_texts import bare, format_value, metric_of, probability_text, signed


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A model's value of a metric as text.

    Attributes:
        number: The value itself.
        low: The lower bound of the interval around it.
        high: The upper one.
        value: It as text, such as `1.234` or `56.7 %`.
        bounds: The interval as text, `1.20 – 1.27`.
        change: What it is more than the base model's, `+0.031`; empty for the base model.
        change_bounds: The interval around that.
        improved: Whether the change is for the better; None where its interval holds zero, and for the base model.
        p_value: Of the paired test against the base model, adjusted over the table, as text; empty for the base model.
        note: What share of its answers parses, and what share is the commonest one, as text.
    """

    number: float
    low: float
    high: float
    value: str
    bounds: str
    change: str = ""
    change_bounds: str = ""
    improved: bool | None = None
    p_value: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A metric of all models.

    Attributes:
        title: The source.
        detail: Which metric of it, where a section has several.
        examples: How many it is taken over.
        cells: One a model.
        is_mean: Whether it is the mean over the section's other rows.
        least_difference: The least true difference from the base model that so many examples show, as text; of the
            models the largest; empty where there is none.
        without_model: What rules get that need no model: the best of a benchmark's own, the majority, a random answer.
        pairs: Every two models; none where there is but one.
    """

    title: str
    detail: str
    examples: int
    cells: list[Cell]
    is_mean: bool = False
    least_difference: str = ""
    without_model: str = ""
    pairs: list[ModelPair] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Section:
    """Rows that belong together. `hint` says what they show, and which direction is better."""

    title: str
    hint: str
    rows: list[Row]


def model_names(evaluation: Mapping[str, Any]) -> list[str]:
    """The columns."""
    return [model["name"] for model in evaluation["models"]]


def sections(evaluation: Mapping[str, Any]) -> list[Section]:
    """The tables of an evaluation.json."""
    found = [
        _section(evaluation, kind, side, title, hint)
        for kind, side, title, hint in (
            (Kind.held_out, "social", "Social text", _BITS),
            (Kind.held_out, "general", "General text", _BITS),
            (Kind.preferences, None, "Preferences",
             "fraction of pairs whose chosen response is the likelier one; higher is better"),
            (Kind.conversations, None, "Answers", "greedy answers against the expected ones; higher is better"),
        )
    ]  # fmt: skip
    found += [
        _section(
            evaluation,
            Kind.benchmarks,
            side,
            side,
            "items that lie here, asked by lm-evaluation-harness; higher is better, but of bits per byte and losses",
        )
        for side in dict.fromkeys(entry["side"] for entry in evaluation["metrics"] if entry["kind"] == "benchmarks")
    ]
    return [section for section in found if section.rows]


_BITS = "bits per byte of held-out text; lower is better"


def _section(evaluation: Mapping[str, Any], kind: Kind, side: str | None, title: str, hint: str) -> Section:
    """The rows of a kind, and of a side where there are several tables of it."""
    rows: dict[Any, list[Mapping[str, Any]]] = {}
    for entry in evaluation["metrics"]:
        if entry["kind"] == kind.name and side in (None, entry["side"]):
            rows.setdefault((entry["side"], entry["source"], entry["metric"]), []).append(entry)
    means = {metric: sum(m == metric for _, source, m in rows if source is not None) for _, _, metric in rows}
    tests = _tests(evaluation)
    return Section(
        title=title,
        hint=hint,
        rows=[
            _with_rules(_row(group, tests, evaluation["base"], means[metric]), group, evaluation)
            for (_, _, metric), group in rows.items()
        ],
    )


_Tests = Mapping[Any, Sequence[Mapping[str, Any]]]


def _tests(evaluation: Mapping[str, Any]) -> _Tests:
    """The comparisons of two models by what was compared."""
    found: dict[Any, list[Mapping[str, Any]]] = {}
    for entry in evaluation["comparisons"]:
        found.setdefault(_place(entry), []).append(entry)
    return found


def _against(base: str, tests: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Those with the base model by the other one."""
    pairs = [({test["first"], test["second"]}, test) for test in tests]
    return {(models - {base}).pop(): test for models, test in pairs if base in models}


def _place(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(entry[name] for name in ("kind", "side", "source", "metric"))


def _row(group: Sequence[Mapping[str, Any]], tests: _Tests, base: str, mean_of: int) -> Row:
    first = group[0]
    compared = tests.get(_place(first), [])
    own = _against(base, compared)
    least = [test["least_difference"] for test in own.values()]
    told = max((value for value in least if value is not None), default=None) if None not in least else None
    return Row(
        title=_title(first, mean_of),
        detail=_detail(first),
        examples=first["examples"],
        cells=[_cell(entry, own.get(entry["model"])) for entry in group],
        is_mean=first["source"] is None,
        least_difference="" if told is None else bare(metric_of(first), told),
        pairs=model_pairs(compared, metric_of(first)),
    )


def _title(entry: Mapping[str, Any], mean_of: int) -> str:
    if entry.get("mean_of"):
        return f"{entry['path'] or 'all'}: mean of {entry['mean_of']}"
    return entry.get("path") or entry["source"] or f"mean of {mean_of} sources"


def _with_rules(row: Row, group: Sequence[Mapping[str, Any]], evaluation: Mapping[str, Any]) -> Row:
    """A benchmark's row with what rules get that need no model, and how the models' answers are spread."""
    first = group[0]
    if first["kind"] != Kind.benchmarks.name:
        return row
    source = next(
        (one for one in evaluation["sources"] if (one["kind"], one["name"]) == (first["kind"], first["source"])), {}
    )
    if "without_model" not in source:
        return row
    metric, rules = metric_of(first), source["without_model"]
    values = {name: found[metric.name] for name, found in rules.items() if metric.name in found}
    own = {name: value for name, value in values.items() if name not in ("majority", "random")}
    told = [max(own, key=lambda name: own[name])] if own else []
    told += [name for name in ("majority", "random") if name in values]
    cells = [
        replace(cell, note=_spread(source["answers"].get(entry["model"], {})))
        for cell, entry in zip(row.cells, group, strict=True)
    ]
    return replace(row, cells=cells, without_model=", ".join(f"{bare(metric, values[name])} {name}" for name in told))


def _spread(answers: Mapping[str, Any]) -> str:
    parts = []
    if "parsed" in answers:
        parts.append(f"{100 * answers['parsed']:.0f} % parse")
    if "commonest" in answers:
        parts.append(f"{100 * answers['commonest']:.0f} % one answer")
    return ", ".join(parts)


def _detail(entry: Mapping[str, Any]) -> str:
    metric = metric_of(entry)
    if metric is BITS_PER_BYTE:
        return ""
    if entry["kind"] == Kind.benchmarks.name:
        return metric.title
    capability = [entry["side"].replace("_", " ")] if entry["side"] else []
    return ", ".join([*capability, metric.title])


def _cell(entry: Mapping[str, Any], test: Mapping[str, Any] | None) -> Cell:
    metric = metric_of(entry)
    cell = Cell(
        number=entry["value"],
        low=entry["low"],
        high=entry["high"],
        value=format_value(metric, entry["value"]),
        bounds=f"{bare(metric, entry['low'])} – {bare(metric, entry['high'])}",
    )
    if "difference" not in entry:
        return cell
    low, high = entry["difference_low"], entry["difference_high"]
    return replace(
        cell,
        change=signed(metric, entry["difference"]),
        change_bounds=f"{signed(metric, low)} – {signed(metric, high)}",
        improved=None if low <= 0 <= high else (entry["difference"] > 0) == metric.higher_is_better,
        p_value="" if test is None else probability_text(test["holm_p_value"]),
    )


def reading_note(evaluation: Mapping[str, Any]) -> str:
    """What ranges and differences are."""
    bootstrap = evaluation["config"]["bootstrap"]
    return (
        f"Ranges are {100 * bootstrap['confidence']:g} % bootstrap intervals over examples "
        f"({bootstrap['resamples']:,} resamples); one of no width says no more than that all examples gave the same. "
        f"Signed numbers are differences from {evaluation['base']} on the same examples, stressed where their range "
        "leaves out zero; p is that of McNemar's exact test where examples are right or wrong, else of the paired "
        "bootstrap, adjusted by Holm for all pairs of models in the table. The least difference is the true one that "
        "so many examples show in 80 of 100 repetitions at level 5 %."
    )
