#!/usr/bin/env python3
"""Records what `damage.py` and `kills.py` found in benchmarks/results/checkpoints.json, the rest in long_runs.json.

    python tools/reliability/record.py [--damage JSONL] [--kills JSONL] [--starting JSON] [--fuzz JSON]
                                       [--faults JUNIT.xml] [--engine JUNIT.xml ... [--losses JSON JSON]]
                                       [--spikes JSON] [--curation JSONL ...]

JUNIT.xml is what `pytest --junitxml` writes: for --faults of tests/distributed/test_hangs.py, test_networks.py and
test_slurm.py, for --engine of any tests under megatron-core 0.19. --curation takes what curation_kills.py wrote, for
curation_speed.json.
"""

import argparse
import json
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from tools.benchmarks.recording import record_part
from tools.reliability import curation_kills, damage, engine_losses, kills

_PACKAGES = ("megatron-core", "torch", "xxhash")


def main() -> None:
    """Reads the lines of both, and records them as parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--damage", type=Path)
    parser.add_argument("--kills", type=Path)
    parser.add_argument("--starting", type=Path, help="what kills.py --starting printed")
    parser.add_argument("--fuzz", type=Path)
    parser.add_argument("--faults", type=Path)
    parser.add_argument("--engine", type=Path, nargs="+")
    parser.add_argument("--losses", type=Path, nargs=2, default=[], help="of engine_losses.py, beside --engine")
    parser.add_argument("--spikes", type=Path)
    parser.add_argument("--curation", type=Path, nargs="+", help="what curation_kills.py wrote")
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
    if arguments.starting is not None:
        notes = "a launcher is killed as soon as it has a rank; ranks that go on are counted"
        record_part("checkpoints", "starting", json.loads(arguments.starting.read_text()), _PACKAGES, notes)
    if arguments.curation is not None:
        notes = "curation_kills.py: killed in each pass, on each executor; executors_equal is 1 where all ended alike"
        packages = ("datatrove", "ray", "numpy")
        record_part("curation_speed", "executors", curation_kills.count(arguments.curation), packages, notes)
    if arguments.fuzz is not None:
        _record_fuzz(json.loads(arguments.fuzz.read_text()))
    if arguments.faults is not None:
        _record_faults(arguments.faults)
    if arguments.engine is not None:
        _record_engine(arguments.engine, arguments.losses)
    if arguments.spikes is not None:
        notes = "tools/reliability/spikes.py: a step of garbage or NaN; differences of the validation loss at the end"
        record_part("long_runs", "spikes", json.loads(arguments.spikes.read_text()), _PACKAGES, notes)


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
    """Counts tests: a rank, a cable or a job of Slurm's that goes wrong is named, or changes nothing."""
    passed = _passed(report)
    if hangs := passed.get("test_hangs"):
        metrics = {"hangs_tried": len(hangs), "hangs_named": sum(hangs.values())}
        record_part("long_runs", "hangs", metrics, _PACKAGES, "a rank sleeps, is stopped, raises, exits or is slow")
    if networks := passed.get("test_networks"):
        metrics = {"networks_tried": len(networks), "namespaces_bit_equal": int(all(networks.values()))}
        notes = "a cable between two hosts is cut or slow, under examples/launch/nodes.sh"
        record_part("long_runs", "networks", metrics, _PACKAGES, notes)
    if slurm := passed.get("test_slurm"):
        metrics = {
            "slurm_requeue_bit_equal": int(all(ok for name, ok in slurm.items() if "queues_again" in name)),
            "slurm_curation_equal": int(all(ok for name, ok in slurm.items() if "curation" in name)),
        }
        notes = "a real Slurm 22.05 of two machines: a job of two tasks is signalled and queued again; arrays of jobs"
        record_part("long_runs", "slurm", metrics, _PACKAGES, notes)


def _passed(report: Path) -> dict[str, dict[str, bool]]:
    """Which tests of each module passed; those that were skipped are left out."""
    passed: dict[str, dict[str, bool]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        if case.find("skipped") is None:
            module = str(case.get("classname")).rpartition(".")[2]
            ok = case.find("failure") is None and case.find("error") is None
            passed.setdefault(module, {})[str(case.get("name"))] = ok
    return passed


def _record_engine(reports: Sequence[Path], losses: Sequence[Path]) -> None:
    """Counts tests under another megatron-core; one that stands in several reports counts as in the last."""
    found = [case for report in reports for case in ElementTree.parse(report).iter("testcase")]
    cases = list({(case.get("classname"), case.get("name")): case for case in found}.values())
    failed = sum(case.find("failure") is not None or case.find("error") is not None for case in cases)
    skipped = sum(case.find("skipped") is not None for case in cases)
    modules = {str(case.get("classname")) for case in cases}
    left = [name for name in _modules_of_the_suite() if name not in modules]
    metrics = {
        "mcore_019_tests_passed": len(cases) - failed - skipped,
        "mcore_019_tests_failed": failed,
        "mcore_019_tests_skipped": skipped,
        "mcore_019_modules_left": len(left),
        "mcore_019_passed": int(not failed and not left),
    }
    if losses:
        differences = engine_losses.compare(*(json.loads(file.read_text()) for file in losses))
        metrics |= {
            "mcore_019_loss_rel_diff": differences["loss_rel_diff"],
            "mcore_019_grad_norm_rel_diff": differences["grad_norm_rel_diff"],
        }
    folders = sorted({module.rpartition(".")[0].replace(".", "/") for module in modules})
    notes = f"megatron-core 0.19.2 on Python 3.12: {', '.join(folders)}; mcore_019_passed is 1 where no module was left"
    record_part("long_runs", "engine", metrics, _PACKAGES, notes)


def _modules_of_the_suite() -> list[str]:
    files = [
        file
        for folder in ("unit", "distributed", "end_to_end")
        for file in (ROOT / "tests" / folder).rglob("test_*.py")
    ]
    return [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]


if __name__ == "__main__":
    main()
