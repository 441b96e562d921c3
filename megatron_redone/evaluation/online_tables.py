"""online.md: what online figures would be, for people."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from megatron_redone.evaluation.online_estimates import ANY_CLICK, EXPOSURE
from megatron_redone.evaluation.printed_tables import plain_markdown

_ESTIMATORS = {
    "mean": "mean",
    "ips": "IPS",
    "snips": "SNIPS",
    "dr": "doubly robust",
    "switch_dr": "switch-DR",
    "independent_ips": "independent IPS",
    "reward_interaction_ips": "reward-interaction IPS",
}
_NOTE = (
    "Intervals are bootstrap intervals over records at {confidence:g} %; the effective number is how many records that "
    "weigh alike would say as much. Estimates hold where the future is like the log, and its propensities are true. "
    "Switch-DR trusts the model of clicks where weights are large, and is as wrong there as that model."
)


def online_markdown(content: Mapping[str, Any]) -> str:
    """The tables of online.json, with a note on how to read them."""
    lines = ["# What online figures would be", ""]
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for one in content["estimates"]:
        groups.setdefault((one["source"], one["measure"]), []).append(one)
    for (source, measure), rows in groups.items():
        lines += [f"## {plain_markdown(source)}: {measure}", "", f"{rows[0]['records']:,} records.", ""]
        lines += [*(_exposure_lines(rows) if measure == EXPOSURE else _search_lines(measure, rows)), ""]
    return "\n".join([*lines, _NOTE.format(confidence=100 * content["confidence"]), ""])


def _search_lines(measure: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield f"| policy | estimator | {measure} | against the log | effective records |"
    yield "| --- | --- | ---: | ---: | ---: |"
    for row in rows:
        names = f"| {plain_markdown(row['policy'])} | {_ESTIMATORS[row['estimator']]} |"
        if row["refused"]:
            yield f"{names} refused: {plain_markdown(row['refused'])} | – | {row['effective_records']:,.0f} |"
        else:
            value = _interval(row, "value", _percent if measure == ANY_CLICK else "{:.4f}".format)
            change = _interval(row, "change", _change) if row["change"] is not None else "–"
            yield f"{names} {value} | {change} | {row['effective_records']:,.0f} |"


def _exposure_lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "| model | rule | exposure | baseline's | change | removed, baseline's | effective harmful posts |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    for row in rows:
        names = f"| {plain_markdown(row['policy'])} | {row['estimator']} |"
        if row["refused"]:
            yield f"{names} refused: {plain_markdown(row['refused'])} | – | – | – | {row['effective_records']:,.0f} |"
        else:
            removed = f"{_percent(row['removed'])}, {_percent(row['baseline_removed'])}"
            yield (
                f"{names} {_interval(row, 'value', _percent)} | {_interval(row, 'baseline_value', _percent)} "
                f"| {_interval(row, 'change', _change)} | {removed} | {row['effective_records']:,.0f} |"
            )


def _interval(row: Mapping[str, Any], name: str, text: Any) -> str:
    return f"{text(row[name])} ({text(row[f'{name}_low'])} to {text(row[f'{name}_high'])})"


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %"


def _change(value: float) -> str:
    return f"{100 * value:+.1f} %"
