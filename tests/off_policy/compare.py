"""Estimates of simulated logs beside those of Open Bandit Pipeline; tests/off_policy.sh makes its environment."""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from megatron_redone.evaluation.off_policy import (
    SingleLog,
    SlateLog,
    single_estimators,
    slate_estimators,
)
from tests.off_policy import simulation

GOLDEN = Path(__file__).with_name("golden.json")
LARGEST = 1e-9


def main() -> None:
    """Prints the largest difference, or writes golden.json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--obp", required=True, help="the interpreter that has sb-obp")
    parser.add_argument("--golden", action="store_true", help="write golden.json from a small log")
    options = parser.parse_args()
    if options.golden:
        log = simulate(40, 1)
        content = {"log": log, "estimates": ask_obp(options.obp, log)}
        GOLDEN.write_text(json.dumps(content) + "\n", encoding="utf-8")
        return
    difference = largest_difference(options.obp)
    print(f"largest difference: {difference:.2g}")
    sys.exit(difference > LARGEST)


def largest_difference(obp: str, logs: int = 5, count: int = 3000) -> float:
    """Over all estimators and some logs."""
    found = []
    for seed in range(logs):
        log = simulate(count, seed)
        ours, theirs = our_estimates(log), ask_obp(obp, log)
        assert ours.keys() == theirs.keys()
        found += [abs(ours[name] - theirs[name]) for name in ours]
    return max(found)


def simulate(count: int, seed: int) -> dict[str, Any]:
    """A log of single suggestions and one of slates, as lists."""
    random = np.random.default_rng(seed)
    drawn = simulation.pages(count, random)
    log = {"single": simulation.single_log(drawn, random), "slates": simulation.slate_log(drawn, random)}
    return json.loads(json.dumps(log, default=lambda array: array.tolist()))


def ask_obp(obp: str, log: dict[str, Any]) -> dict[str, float]:
    """Its estimates by name."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(log, file)
        file.flush()
        command = [obp, "-W", "ignore", str(Path(__file__).with_name("obp_estimates.py")), file.name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def our_estimates(log: dict[str, Any]) -> dict[str, float]:
    """Ours of the same log."""
    sums = [*single_estimators(as_single(log["single"]), log["single"]["switch_above"])]
    sums += slate_estimators(as_slates(log["slates"]))
    return {one.name: float(one.tops.sum() / one.bottoms.sum()) for one in sums}


def as_single(log: dict[str, Any]) -> SingleLog:
    """Weights and expectations of a log of single suggestions."""
    shown = np.array(log["action"])
    rows, policy, expected = np.arange(len(shown)), np.array(log["policy"]), np.array(log["expected"])
    return SingleLog(
        clicks=np.array(log["click"]),
        weights=policy[rows, shown] / np.array(log["propensity"]),
        expected_shown=expected[rows, shown],
        expected_policy=(policy * expected).sum(1),
    )


def as_slates(log: dict[str, Any]) -> SlateLog:
    """Weights of a log of slates."""
    ratios = {
        kind: np.array(log["policy"][kind]) / np.array(log["logging"][kind]) for kind in ("marginal", "conditional")
    }
    return SlateLog(
        clicks=np.array(log["clicks"]), own_weights=ratios["marginal"], path_weights=ratios["conditional"].cumprod(1)
    )


if __name__ == "__main__":
    main()
