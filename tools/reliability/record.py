#!/usr/bin/env python3
"""Records what `damage.py` and `kills.py` have found in benchmarks/results/checkpoints.json.

python tools/reliability/record.py [--damage FILE.jsonl] [--kills FILE.jsonl]
"""

import argparse
import sys
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


if __name__ == "__main__":
    main()
