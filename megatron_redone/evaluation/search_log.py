"""Logs of post-view search: pages with one suggestion each, or with several, and what other policies would show.

docs/records.md has the form of the records. All records of a log are of one kind and speak of the same policies; what
is given in the first of them (distributions, a model of clicks, kinds of probabilities) is given in all.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from megatron_redone.evaluation.off_policy import SingleLog, SlateLog
from megatron_redone.evaluation.record_fields import (
    distribution,
    field,
    mapping,
    number,
    positive_probability,
    probability,
    read_all,
    sequence,
    truth,
)
from megatron_redone.formats.input_records import InvalidRecord, InvalidRecordError
from megatron_redone.formats.inputs import InputFile

_KINDS = ("marginal", "conditional")


@dataclass(frozen=True, kw_only=True)
class PolicyLog:
    """What a log says of one other policy.

    Attributes:
        log: Its weights, and clicks.
        uncovered: The part of its probability on suggestions that the logged policy never shows, the mean over pages;
            None where the log does not say what it can show.
        has_model: Whether a model of clicks goes with it.
    """

    log: SingleLog | SlateLog
    uncovered: float | None
    has_model: bool


@dataclass(frozen=True, kw_only=True)
class SearchLog:
    """A log. `policies` has one entry a policy; `records` counts all, `invalid` holds those that cannot be used."""

    policies: dict[str, PolicyLog]
    pages: int
    records: int
    invalid: list[InvalidRecord]


@dataclass(frozen=True)
class _Ratio:
    """Of one page and one policy: weight, what the model expects of the policy, and what the log does not cover."""

    weight: float
    expected: float | None
    uncovered: float | None


@dataclass(frozen=True)
class _SinglePage:
    """A page with one suggestion."""

    click: float
    expected_shown: float | None
    policies: dict[str, _Ratio]

    @property
    def form(self) -> tuple[Any, ...]:
        """What must be alike in all pages of a log."""
        kinds = {name: (one.expected is None, one.uncovered is None) for name, one in sorted(self.policies.items())}
        return ("one suggestion", self.expected_shown is None, tuple(kinds.items()))


@dataclass(frozen=True)
class _SlatePage:
    """A page with several; ratios by policy and kind of probability."""

    clicks: list[float]
    policies: dict[str, dict[str, list[float]]]

    @property
    def form(self) -> tuple[Any, ...]:
        """What must be alike in all pages of a log."""
        return ("several suggestions", tuple((name, tuple(one)) for name, one in sorted(self.policies.items())))


def read_search_log(files: list[InputFile]) -> SearchLog:
    """Reads a log.

    Raises:
        UserError: a file is damaged.
    """
    first: list[tuple[Any, ...]] = []

    def page(record: Mapping[str, Any]) -> _SinglePage | _SlatePage:
        found = _slate(record) if isinstance(record.get("shown"), list) else _single(record)
        first[:] = first or [found.form]
        if found.form != first[0]:
            raise InvalidRecordError("other policies, keys or kinds of probabilities than in the first valid record")
        return found

    pages, invalid = read_all(files, page)
    names = sorted(pages[0].policies) if pages else []
    policies = {name: _single_log(pages, name) or _slate_log(pages, name) for name in names}
    return SearchLog(policies=policies, pages=len(pages), records=len(pages) + len(invalid), invalid=invalid)


def _single(record: Mapping[str, Any]) -> _SinglePage:
    shown = _suggestion(field(record, "shown"))
    chances = field(record, "propensity")
    logged = distribution(chances, "propensity") if isinstance(chances, dict) else None
    propensity = positive_probability(chances if logged is None else logged.get(shown, 0.0), "propensity")
    click = float(truth(field(record, "click"), "click"))
    given = mapping(field(record, "policies"), "policies")
    expected = None if record.get("expected_clicks") is None else _expected(record["expected_clicks"])
    if expected is not None and shown not in expected:
        raise InvalidRecordError("'expected_clicks' has nothing on what was shown")
    ratios = {name: _ratio(value, shown, propensity, logged, expected) for name, value in given.items()}
    return _SinglePage(click, None if expected is None else expected[shown], ratios)


def _suggestion(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InvalidRecordError("'shown' is neither a text, a number nor a list of them")
    return str(value)


def _expected(value: Any) -> dict[str, float]:
    return {name: number(each, "expected_clicks") for name, each in mapping(value, "expected_clicks").items()}


def _ratio(
    value: Any,
    shown: str,
    propensity: float,
    logged: Mapping[str, float] | None,
    expected: Mapping[str, float] | None,
) -> _Ratio:
    if not isinstance(value, dict):
        if expected is not None or logged is not None:
            raise InvalidRecordError("a policy is one probability, and not those of all suggestions, as the rest is")
        return _Ratio(probability(value, "policies") / propensity, None, None)
    policy = distribution(value, "policies")
    if expected is not None and any(chance > 0 and name not in expected for name, chance in policy.items()):
        raise InvalidRecordError("'expected_clicks' has nothing on what a policy may show")
    return _Ratio(
        policy.get(shown, 0.0) / propensity,
        None if expected is None else sum(chance * expected.get(name, 0.0) for name, chance in policy.items()),
        None if logged is None else sum(chance for name, chance in policy.items() if not logged.get(name)),
    )


def _slate(record: Mapping[str, Any]) -> _SlatePage:
    length = len(record["shown"])
    if not length:
        raise InvalidRecordError("'shown' is an empty list")
    for one in record["shown"]:
        _suggestion(one)
    clicks = [float(truth(each, "clicks")) for each in sequence(field(record, "clicks"), "clicks", length)]
    logged = mapping(field(record, "propensity"), "propensity")
    if unknown := [kind for kind in logged if kind not in _KINDS]:
        raise InvalidRecordError(f"'propensity' of a slate has {' and '.join(_KINDS)}, and not '{unknown[0][:40]}'")
    chances = {
        kind: [positive_probability(each, "propensity") for each in sequence(logged[kind], "propensity", length)]
        for kind in _KINDS
        if kind in logged
    }
    policies = mapping(field(record, "policies"), "policies")
    return _SlatePage(clicks, {name: _slate_ratios(value, chances) for name, value in policies.items()})


def _slate_ratios(value: Any, chances: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    given = mapping(value, "policies")
    if set(given) != set(chances):
        raise InvalidRecordError("a policy has other kinds of probabilities than 'propensity'")
    return {
        kind: [
            probability(each, "policies") / chance
            for each, chance in zip(sequence(given[kind], "policies", len(logged)), logged, strict=True)
        ]
        for kind, logged in chances.items()
    }


def _single_log(pages: Sequence[_SinglePage | _SlatePage], name: str) -> PolicyLog | None:
    singles = [page for page in pages if isinstance(page, _SinglePage)]
    if not singles:
        return None
    ratios = [page.policies[name] for page in singles]
    log = SingleLog(
        clicks=np.array([page.click for page in singles]),
        weights=np.array([one.weight for one in ratios]),
        expected_shown=np.array([page.expected_shown or 0.0 for page in singles]),
        expected_policy=np.array([one.expected or 0.0 for one in ratios]),
    )
    uncovered = [one.uncovered for one in ratios if one.uncovered is not None]
    return PolicyLog(
        log=log,
        uncovered=float(np.mean(uncovered)) if uncovered else None,
        has_model=ratios[0].expected is not None,
    )


def _slate_log(pages: Sequence[_SinglePage | _SlatePage], name: str) -> PolicyLog:
    slates = [page for page in pages if isinstance(page, _SlatePage)]
    longest = max(len(page.clicks) for page in slates)
    kinds = slates[0].policies[name]
    ratios = {kind: _padded((page.policies[name][kind] for page in slates), longest, 1.0) for kind in kinds}
    log = SlateLog(
        clicks=_padded((page.clicks for page in slates), longest, 0.0),
        own_weights=ratios.get("marginal"),
        path_weights=ratios["conditional"].cumprod(1) if "conditional" in ratios else None,
    )
    return PolicyLog(log=log, uncovered=None, has_model=False)


def _padded(rows: Iterable[Sequence[float]], length: int, value: float) -> np.ndarray:
    return np.array([[*row, *[value] * (length - len(row))] for row in rows])
