"""What the logs of a configuration say of other policies: one flat record an estimate."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from megatron_redone.config.estimate_online import EstimateOnlineConfig, ExposureSource, OnlineLog, SearchLogSource
from megatron_redone.errors import UserError
from megatron_redone.evaluation.bootstrap import Interval
from megatron_redone.evaluation.exposure import (
    Rule,
    effective_harmful,
    equal_precision,
    equal_volume,
    estimate_exposure,
)
from megatron_redone.evaluation.exposure_log import ExposureLog, read_exposure_log
from megatron_redone.evaluation.off_policy import (
    Least,
    PolicyEstimate,
    SingleLog,
    Sums,
    any_click_estimators,
    estimate_policy,
    single_estimators,
    slate_estimators,
)
from megatron_redone.evaluation.search_log import PolicyLog, SearchLog, read_search_log
from megatron_redone.formats.input_records import InvalidRecord
from megatron_redone.formats.inputs import InputFile

log = logging.getLogger(__name__)

ANY_CLICK, CLICKS, EXPOSURE = "pages with a click", "clicks a page", "exposure"
AS_LOGGED = "as logged"
_WITH_MODEL = ("dr", "switch_dr")


@dataclass(frozen=True, kw_only=True)
class Estimated:
    """A log and what it says.

    Attributes:
        name: Of the log.
        records: How many it has.
        invalid: The ones that cannot be used.
        estimates: One flat record each, as online.json holds them.
    """

    name: str
    records: int
    invalid: list[InvalidRecord]
    estimates: list[dict[str, Any]]


def estimate_search(config: EstimateOnlineConfig, source: SearchLogSource, files: list[InputFile]) -> Estimated:
    """The click-page rate of every other policy in a log.

    Raises:
        UserError: a damaged file, too many invalid records, or not one estimate that stands.
    """
    found = read_search_log(files)
    _check(config, source, found.records, found.invalid)
    records = list(_search_records(config, source, found))
    _refuse_all(source, [one for one in records if one["policy"] != AS_LOGGED])
    return Estimated(name=source.label, records=found.records, invalid=found.invalid, estimates=records)


def _search_records(
    config: EstimateOnlineConfig, source: SearchLogSource, found: SearchLog
) -> Iterator[dict[str, Any]]:
    first = next(iter(found.policies.values()))
    for measure, _, logged in _measures(first, source):
        yield _search_record(source, found, measure, AS_LOGGED, _as_logged(config, logged))
    for name, policy in found.policies.items():
        for measure, sums, logged in _measures(policy, source):
            for one in _estimates(config, policy, sums, logged):
                yield _search_record(source, found, measure, name, one)


def _measures(policy: PolicyLog, source: SearchLogSource) -> Iterator[tuple[str, list[Sums], np.ndarray]]:
    """What is estimated: its name, the estimators, and what each page of the log earned of it."""
    if isinstance(policy.log, SingleLog):
        sums = single_estimators(policy.log, source.switch_above)
        yield ANY_CLICK, [one for one in sums if policy.has_model or one.name not in _WITH_MODEL], policy.log.clicks
        return
    if policy.log.path_weights is not None:
        yield ANY_CLICK, any_click_estimators(policy.log), policy.log.clicks.max(1)
    yield CLICKS, slate_estimators(policy.log), policy.log.clicks.sum(1)


def _as_logged(config: EstimateOnlineConfig, logged: np.ndarray) -> PolicyEstimate:
    """The policy that was logged, whose weights are one."""
    pages = np.ones(len(logged))
    itself = Sums(name="mean", tops=logged, bottoms=pages, weights=pages, clicks=logged)
    return replace(_with_intervals(config, [itself], logged)[0], change=None)


def _with_intervals(config: EstimateOnlineConfig, sums: list[Sums], logged: np.ndarray) -> list[PolicyEstimate]:
    return estimate_policy(
        sums,
        logged,
        least=Least(pages=config.least_pages, clicks=config.least_clicks),
        resamples=config.bootstrap.resamples,
        confidence=config.bootstrap.confidence,
        seed=config.bootstrap.seed,
    )


def _estimates(
    config: EstimateOnlineConfig, policy: PolicyLog, sums: list[Sums], logged: np.ndarray
) -> list[PolicyEstimate]:
    found = _with_intervals(config, sums, logged)
    if policy.uncovered is None or policy.uncovered <= config.most_uncovered:
        return found
    reason = (
        f"{100 * policy.uncovered:.2g} % of what it would show the log never shows there, more than "
        f"most_uncovered={config.most_uncovered:g}; log that at times too, or estimate a policy without it"
    )
    return [replace(one, interval=None, change=None, refused=reason) for one in found]


def _search_record(
    source: SearchLogSource, found: SearchLog, measure: str, policy: str, one: PolicyEstimate
) -> dict[str, Any]:
    return {
        "source": source.label,
        "measure": measure,
        "policy": policy,
        "estimator": one.estimator,
        **_numbers("value", one.interval),
        **_numbers("change", one.change),
        "records": found.pages,
        "effective_records": one.effective_samples,
        "refused": one.refused,
    }


def estimate_harm(config: EstimateOnlineConfig, source: ExposureSource, files: list[InputFile]) -> Estimated:
    """The exposure of harmful posts under every model in a log.

    Raises:
        UserError: a damaged file, too many invalid records, no such baseline, or not one estimate that stands.
    """
    found = read_exposure_log(files)
    _check(config, source, found.records, found.invalid)
    if source.baseline not in found.scores:
        raise UserError(
            f"{source.label}: baseline '{source.baseline}' has no scores there; there are {', '.join(found.scores)}"
        )
    if len(found.scores) < 2:
        raise UserError(f"{source.label}: 'scores' has the baseline alone; add those of a model that replaces it")
    records = list(_exposure_records(config, source, found))
    _refuse_all(source, records)
    return Estimated(name=source.label, records=found.records, invalid=found.invalid, estimates=records)


def _exposure_records(
    config: EstimateOnlineConfig, source: ExposureSource, found: ExposureLog
) -> Iterator[dict[str, Any]]:
    rules = [(f"{100 * share:g} % removed", equal_volume(share)) for share in source.removed]
    rules += [(f"precision {100 * share:g} %", equal_precision(share)) for share in source.precision]
    for model in found.scores:
        if model != source.baseline:
            for name, rule in rules:
                yield {
                    "source": source.label,
                    "measure": EXPOSURE,
                    "policy": model,
                    "estimator": name,
                    "baseline": source.baseline,
                    **_exposure_numbers(config, source, found, model, rule),
                    "records": len(found.posts.harmful),
                    "effective_records": effective_harmful(found.posts),
                }


def _exposure_numbers(
    config: EstimateOnlineConfig, source: ExposureSource, found: ExposureLog, model: str, rule: Rule
) -> dict[str, Any]:
    try:
        estimate = estimate_exposure(
            found.posts,
            found.scores[source.baseline],
            found.scores[model],
            rule,
            least_harmful=config.least_harmful,
            resamples=config.bootstrap.resamples,
            confidence=config.bootstrap.confidence,
            seed=config.bootstrap.seed,
        )
    except UserError as error:
        return {**_numbers("value", None), **_numbers("change", None), "refused": str(error)}
    return {
        **_numbers("value", estimate.policy),
        **_numbers("baseline_value", estimate.baseline),
        **_numbers("change", estimate.change),
        "removed": estimate.removed_policy,
        "baseline_removed": estimate.removed_baseline,
        "refused": "",
    }


def _numbers(name: str, interval: Interval | None) -> dict[str, float | None]:
    parts = (None, None, None) if interval is None else (interval.value, interval.low, interval.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), parts, strict=True))


def _check(config: EstimateOnlineConfig, source: OnlineLog, records: int, invalid: list[InvalidRecord]) -> None:
    first = f"the first is {invalid[0].file}:{invalid[0].place}: {invalid[0].reason}" if invalid else ""
    if len(invalid) > config.max_invalid * records:
        raise UserError(
            f"{source.label}: {len(invalid):,} of {records:,} records are invalid, more than "
            f"max_invalid={config.max_invalid:g}; {first}"
        )
    if len(invalid) == records:
        raise UserError(f"{source.label}: not one record that can be used{'; ' if first else ''}{first}")


def _refuse_all(source: OnlineLog, records: list[dict[str, Any]]) -> None:
    """Tells what is refused, a line a policy and reason; all of a log is an error."""
    reasons = dict.fromkeys((one["policy"], one["refused"]) for one in records if one["refused"])
    if all(one["refused"] for one in records):
        (policy, reason), *_ = reasons
        raise UserError(f"{source.label}: nothing can be said of '{policy}': {reason}")
    for policy, reason in reasons:
        log.warning("%s: no estimate of '%s': %s", source.label, policy, reason)
