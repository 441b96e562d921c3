"""Statistics of an evaluation against other people's code, and against simulations whose truth is known.

    python tools/benchmarks/evaluation_statistics.py --part tests|decisions|search|exposure|off_policy

`tests` compares paired tests with scipy and statsmodels. `decisions` plants differences of the stated least size, and
none, in tables as `redone evaluate` makes them. `search` and `exposure` look how often intervals of `redone
estimate-online` hold the truth. `off_policy` compares with Open Bandit Pipeline, whose interpreter `--obp` names
(`bash tests/off_policy.sh` makes it).
"""

import argparse
import itertools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[2])

import numpy as np

from megatron_redone.config.evaluate import BootstrapConfig
from megatron_redone.evaluation.bootstrap import percentile_interval, ratio_of_sums, resampled, value_of
from megatron_redone.evaluation.comparison import EvaluatedSource, estimate_rows
from megatron_redone.evaluation.exposure import equal_precision, equal_volume
from megatron_redone.evaluation.metric_definitions import Kind
from megatron_redone.evaluation.paired_tests import LEVEL, holm, mcnemar_p_value
from megatron_redone.evaluation.significance import Comparison, compare_models
from tests.off_policy.compare import largest_difference
from tests.off_policy.coverage import Coverage, exposure_coverage, search_coverage
from tools.benchmarks.recording import record_part

PACKAGES = ("numpy", "scipy", "statsmodels", "torch", "transformers", "lm_eval", "sacrebleu", "nltk", "rouge_score")
Measured = tuple[dict[str, float], str]

RESAMPLES = 100  # of the intervals whose coverage is looked at
ITEMS = 200
DISCORDANT = 0.25  # of the items one model alone has right


def tests(options: argparse.Namespace) -> Measured:
    """The largest differences from scipy's and statsmodels' tests and intervals."""
    from scipy import stats
    from statsmodels.stats.contingency_tables import mcnemar
    from statsmodels.stats.multitest import multipletests

    random = np.random.default_rng(0)
    pairs = [*itertools.product(range(12), range(12)), *random.integers(0, 3000, (300, 2)).tolist()]
    ours = np.array([mcnemar_p_value(*pair) for pair in pairs])
    theirs = np.array([vars(mcnemar([[0, a], [b, 0]], exact=True))["pvalue"] for a, b in pairs])
    binomial = np.array([stats.binomtest(a, a + b).pvalue if a + b else 1.0 for a, b in pairs])
    families = [random.beta(0.3, 1, count) for count in range(1, 60)]
    adjusted = [np.abs(np.array(holm(p.tolist())) - multipletests(p, method="holm")[1]).max() for p in families]
    metrics = {
        "mcnemar_max_diff_statsmodels": float(np.abs(ours - theirs).max()),
        "mcnemar_max_diff_scipy": float(np.abs(ours - binomial).max()),
        "holm_max_diff_statsmodels": float(max(adjusted)),
        "bootstrap_max_diff_scipy": max(_bootstrap_difference(seed) for seed in range(20)),
    }
    return metrics, f"{len(pairs)} tables of McNemar, {len(families)} families, 20 paired bootstraps of 500 examples"


def _bootstrap_difference(seed: int) -> float:
    """Bounds of the interval of a paired difference beside scipy's, by the same random numbers."""
    from scipy import stats

    change = np.random.default_rng(seed).gamma(2, 1, 500) - 2
    draws = resampled(ratio_of_sums(change, np.ones(500)), 500, 999, np.random.default_rng(seed))
    interval = percentile_interval(value_of(ratio_of_sums(change, np.ones(500)), 500), draws, 0.95)
    theirs = stats.bootstrap(
        (change,), np.mean, n_resamples=999, method="percentile", rng=np.random.default_rng(seed), vectorized=True
    ).confidence_interval
    return float(max(abs(interval.low - theirs.low), abs(interval.high - theirs.high)))


def decisions(options: argparse.Namespace) -> Measured:
    """How often a planted difference of the least size is found, and how often one where none is.

    The least size is what a table says of one evaluation; it is planted in the next one. Without a difference the whole
    table counts, adjusted: some sources and their mean.
    """
    found = {"answers": 0, "texts": 0}
    alarms = {"answers": 0, "texts": 0, "answers_table": 0, "texts_table": 0}
    for seed in range(options.simulations):
        random = np.random.default_rng([seed, 2])
        for name, make in _SOURCES.items():
            [pilot] = _compare(seed, make(random, "a", 0.0))
            assert pilot.least_difference is not None
            alarms[name] += pilot.p_value <= LEVEL
            [planted] = _compare(seed, make(random, "a", pilot.least_difference))
            found[name] += planted.p_value <= LEVEL
            table = _compare(seed, *(make(random, letter, 0.0) for letter in "abcdefgh"[: options.sources]))
            alarms[f"{name}_table"] += min(one.holm_p_value for one in table) <= LEVEL
    share = {name: count / options.simulations for name, count in (found | alarms).items()}
    metrics = {f"power_{name}": found[name] / options.simulations for name in found}
    metrics |= {f"false_alarm_{name}": alarms[name] / options.simulations for name in alarms}
    metrics |= {
        "power": min(value for name, value in metrics.items() if name.startswith("power_")),
        "false_alarm": max(share[name] for name in alarms),
    }
    notes = f"{options.simulations} simulations of {ITEMS} items; tables of {options.sources} sources and their mean"
    return metrics, notes


def _compare(seed: int, *sources: EvaluatedSource) -> list[Comparison]:
    config = BootstrapConfig(seed=seed)
    return compare_models(estimate_rows(sources, config), config.confidence)


def _answers(random: np.random.Generator, name: str, planted: float) -> EvaluatedSource:
    """Right and wrong; the second model is right on `planted` more of all items, on average."""
    differing = max(DISCORDANT, planted)
    chances = [(differing - planted) / 2, (differing + planted) / 2, (1 - differing) / 2, (1 - differing) / 2]
    kinds = random.choice(4, ITEMS, p=chances)
    right = {"base": (kinds == 0) | (kinds == 2), "tuned": (kinds == 1) | (kinds == 2)}
    results = {model: [{"exact": float(one)} for one in each] for model, each in right.items()}
    return EvaluatedSource(kind=Kind.conversations, name=name, side="dialogue", results=results)


def _texts(random: np.random.Generator, name: str, planted: float) -> EvaluatedSource:
    """Bits of texts of different lengths; what the models differ by on a text is skewed."""
    length = np.ceil(random.lognormal(5, 0.7, ITEMS))
    bits = length * random.gamma(40, 1 / 40, ITEMS)
    change = length * (planted + random.gamma(2, 0.02, ITEMS) - 0.04)
    results = {
        model: [{"bits": float(b), "bytes": float(n)} for b, n in zip(each, length, strict=True)]
        for model, each in {"base": bits, "tuned": bits + change}.items()
    }
    return EvaluatedSource(kind=Kind.held_out, name=name, side="social", results=results)


_SOURCES: Mapping[str, Callable[[np.random.Generator, str, float], EvaluatedSource]] = {
    "answers": _answers,
    "texts": _texts,
}


def search(options: argparse.Namespace) -> Measured:
    """Coverage of the click-page rate."""
    return _coverages("search", search_coverage(options.simulations, RESAMPLES), options.simulations)


def exposure(options: argparse.Namespace) -> Measured:
    """Coverage of the change of the exposure, under both rules."""
    rules = {"volume": equal_volume(0.03), "precision": equal_precision(0.3)}
    found = {
        f"{rule}_{name}": one
        for rule, function in rules.items()
        for name, one in exposure_coverage(function, options.simulations, RESAMPLES).items()
    }
    return _coverages("exposure", found, options.simulations)


def _coverages(what: str, found: Mapping[str, Coverage], simulations: int) -> Measured:
    metrics = {f"{what}_coverage_{name}": one.covered for name, one in found.items()}
    metrics |= {
        f"{what}_coverage": min(one.covered for one in found.values()),
        f"{what}_refused_max": max(one.refused for one in found.values()),
    }
    return metrics, f"{simulations} simulated logs of each kind, 95 % intervals of {RESAMPLES} resamples"


def off_policy(options: argparse.Namespace) -> Measured:
    """The largest difference from Open Bandit Pipeline's estimates of the same logs."""
    if options.obp is None:
        raise SystemExit("--obp: name the interpreter that has sb-obp; `bash tests/off_policy.sh` makes it")
    return {"ope_max_diff": largest_difference(options.obp)}, "6 estimators on 5 simulated logs of 3,000 pages"


def main() -> None:
    """Measures one part and records it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", required=True, choices=[*_PARTS])
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--sources", type=int, default=4, help="of a table, of part decisions")
    parser.add_argument("--obp", help="the interpreter that has sb-obp, of part off_policy")
    parser.add_argument("--load", default="", help="what the machine was doing besides")
    options = parser.parse_args()
    metrics, notes = _PARTS[options.part](options)
    record_part("evaluation", options.part, metrics, PACKAGES, f"{notes}{'; ' if options.load else ''}{options.load}")


_PARTS = {"tests": tests, "decisions": decisions, "search": search, "exposure": exposure, "off_policy": off_policy}

if __name__ == "__main__":
    main()
