#!/usr/bin/env python3
"""Records what `damage.py` and `kills.py` found in benchmarks/results/checkpoints.json, the rest in long_runs.json.

    python tools/reliability/record.py [--damage JSONL] [--kills JSONL] [--fuzz JSON] [--faults JUNIT.xml]

JUNIT.xml is what `pytest --junitxml` writes of tests/distributed/test_hangs.py and test_networks.py.
"""

import argparse
import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from tools.benchmarks.recording import record_part
from tools.reliability import damage, kills

_PACKAGES = ("megatron-core", "torch", "xxhash")


def main() -> None:
    """Reads the lines of both, and records them as parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--damage", type=Path)
    parser.add_argument("--kills", type=Path)
    parser.add_argument("--fuzz", type=Path)
    parser.add_argument("--faults", type=Path)
    arguments = parser.parse_args()
    if arguments.damage is not None:
        found = damage.count(arguments.damage)
        metrics = {"damaged": found.pop("trials"), **{f"damaged_{name}": number for name, number in found.items()}}
        record_part("checkpoints", "damage", metrics, _PACKAGES, "one file at a time, by the command that reads it")
    if arguments.kills is not None:
        found = kills.count(arguments.kills)
        metrics = {
            **found,
            "kills_bit_equal": int(found["runs_bit_equal"] == found["runs"]),
            "kills_leftovers": found.pop("leftovers"),
        }
        notes = "two ranks, a run is killed ten times; kills_bit_equal is 1 where all runs ended as undisturbed ones"
        record_part("checkpoints", "kills", {k: v for k, v in metrics.items() if k != "leftovers"}, _PACKAGES, notes)
    if arguments.fuzz is not None:
        _record_fuzz(json.loads(arguments.fuzz.read_text()))
    if arguments.faults is not None:
        _record_faults(arguments.faults)


def _record_fuzz(found: dict[str, int]) -> None:
    metrics = {
        "fuzzed": found["cases"],
        "fuzz_taken": found["taken"],
        "fuzz_tracebacks": found["tracebacks"],
        "fuzz_hangs": found["hangs"],
        "pickles_executed": found["executed"],
    }
    notes = (
        "tools/reliability/fuzz.py: configurations, records, indices, templates, replies of judges and pickles alike"
    )
    record_part("long_runs", "fuzz", metrics, _PACKAGES, notes)


def _record_faults(report: Path) -> None:
    """Counts tests: a rank or a cable that goes wrong is named, or changes nothing."""
    passed: dict[str, list[bool]] = {"test_hangs": [], "test_networks": []}
    for case in ElementTree.parse(report).iter("testcase"):
        if case.find("skipped") is None:
            module = str(case.get("classname")).rpartition(".")[2]
            passed[module].append(case.find("failure") is None and case.find("error") is None)
    metrics = {"hangs_tried": len(passed["test_hangs"]), "hangs_named": sum(passed["test_hangs"])}
    if passed["test_networks"]:
        metrics |= {
            "networks_tried": len(passed["test_networks"]),
            "namespaces_bit_equal": int(all(passed["test_networks"])),
        }
    notes = "a rank sleeps, is stopped, raises, exits, vanishes or is slow; a cable between two hosts is cut or slow"
    record_part("long_runs", "faults", metrics, _PACKAGES, notes)


if __name__ == "__main__":
    main()
