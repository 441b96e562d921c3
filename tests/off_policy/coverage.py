"""How often intervals hold the truth of simulated logs, by estimator."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from megatron_redone.errors import UserError
from megatron_redone.evaluation.bootstrap import value_of
from megatron_redone.evaluation.exposure import Rule, estimate_exposure, exposure_rate
from megatron_redone.evaluation.off_policy import (
    Least,
    any_click_estimators,
    estimate_policy,
    single_estimators,
    slate_estimators,
)
from tests.off_policy import compare, simulation
from tests.off_policy.exposed_posts import labelled, population

_LEAST = Least(pages=100, clicks=20)
_HARMFUL = 10
_SWITCH = 5.0
_LENGTH = 2


@dataclass(frozen=True)
class Coverage:
    """Over simulated logs.

    Attributes:
        covered: The fraction whose interval holds the truth, of those that are not refused.
        refused: The fraction that is.
    """

    covered: float
    refused: float


def search_coverage(simulations: int, resamples: int) -> dict[str, Coverage]:
    """95 % intervals of what the other policy earns, from logs of an old one.

    - Single suggestions, 2,000 pages.
    - Slates whose lower places are looked at less (position bias), 3,000 pages, by a policy that is nearer to the old
      one, since weights multiply over places: where a click may end the reading, so that clicks depend on what stands
      above, which reward-interaction IPS takes in; and where it does not, as independent IPS assumes.

    Switch-DR is not unbiased where the model of clicks is wrong, as here, and is left out.
    """
    random = np.random.default_rng(7)
    many, near = simulation.pages(400_000, random), simulation.pages(400_000, random, sharpness=0.5)
    single = simulation.single_truth(many)
    ending, any_click = simulation.slate_truth(near, random, _LENGTH)
    going_on, _ = simulation.slate_truth(near, random, _LENGTH, satisfied=0.0)
    found: dict[str, list[bool | None]] = defaultdict(list)

    for seed in range(simulations):
        random = np.random.default_rng([seed, 1])
        drawn = simulation.pages(2000, random)
        log = compare.as_single(simulation.single_log(drawn, random))
        unbiased = [one for one in single_estimators(log, _SWITCH) if one.name != "switch_dr"]
        cases = [("single", unbiased, log.clicks, single)]
        near = simulation.pages(3000, random, sharpness=0.5)
        slates = compare.as_slates(simulation.slate_log(near, random, _LENGTH))
        cases.append(("ending", slate_estimators(slates)[1:], slates.clicks.sum(1), ending))
        cases.append(("any_click", any_click_estimators(slates), slates.clicks.max(1), any_click))
        slates = compare.as_slates(simulation.slate_log(near, random, _LENGTH, satisfied=0.0))
        cases.append(("going_on", slate_estimators(slates), slates.clicks.sum(1), going_on))
        for case, sums, logged, truth in cases:
            for one in estimate_policy(sums, logged, least=_LEAST, resamples=resamples, confidence=0.95, seed=seed):
                held = None if one.interval is None else one.interval.low <= truth <= one.interval.high
                found[f"{case}_{one.estimator}"].append(held)
    return {name: _coverage(held) for name, held in found.items()}


def _coverage(held: Sequence[bool | None]) -> Coverage:
    given = [one for one in held if one is not None]
    return Coverage(sum(given) / len(given), 1 - len(given) / len(held))


def exposure_coverage(rule: Rule, simulations: int, resamples: int) -> dict[str, Coverage]:
    """95 % intervals of the change of the exposure.

    One post of forty is harmful. Samples are 2,500 posts that are all labelled, and 6,000 of which people have labelled
    those most that the old model suspects.
    """
    posts, *scores = population(1_000_000, np.random.default_rng(99))
    before, after = (value_of(exposure_rate(posts, one, rule), len(one)) for one in scores)
    true = after / before - 1
    found: dict[str, list[bool | None]] = defaultdict(list)
    for seed in range(simulations):
        samples = {
            "all_labelled": population(2500, np.random.default_rng(seed)),
            "labelled_by_suspicion": labelled(6000, np.random.default_rng(seed)),
        }
        for name, (sample, old, new) in samples.items():
            try:
                change = estimate_exposure(
                    sample, old, new, rule, least_harmful=_HARMFUL, resamples=resamples, confidence=0.95, seed=seed
                ).change
            except UserError:
                found[name].append(None)
            else:
                found[name].append(change.low <= true <= change.high)
    return {name: _coverage(held) for name, held in found.items()}
