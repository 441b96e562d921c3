#!/usr/bin/env python3
"""Losses and gradient norms of ten steps of small models, to compare two versions of megatron-core.

    ENVIRONMENT/bin/python tools/reliability/engine_losses.py --to FILE.json [--layouts tp2 pp2]
    python tools/reliability/engine_losses.py --compare FILE.json FILE.json

The first is called in the environment of each version. Models, layouts and steps are those of
tests/distributed/test_layouts.py; without layouts it is one process, which that test compares with all of them.
"""

import argparse
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.distributed.test_layouts import LAYOUTS, STEPS
from tests.helpers import ranks
from tests.helpers.runs import Run, train

MODELS = ("qwen2_tied", "qwen2_untied", "qwen3")


def main() -> int:
    """Writes the numbers of one version, or prints how far those of two lie apart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path)
    parser.add_argument("--layouts", nargs="*", choices=list(LAYOUTS), default=[])
    parser.add_argument("--compare", type=Path, nargs=2)
    arguments = parser.parse_args()
    if arguments.compare:
        print(json.dumps(compare(*(json.loads(file.read_text()) for file in arguments.compare)), indent=2))
        return 0
    found = {"megatron-core": version("megatron-core"), "torch": version("torch"), "steps": measure(arguments.layouts)}
    arguments.to.write_text(json.dumps(found))
    return 0


def measure(layouts: list[str]) -> dict[str, list[tuple[float, float]]]:
    """Loss and gradient norm of each step, by model and layout."""
    found = {}
    try:
        for model in MODELS:
            for layout in ["one process", *layouts]:
                size, parallel = LAYOUTS.get(layout, (1, {}))
                run = Run(model=model, parallel=parallel)
                found[f"{model}, {layout}"] = ranks.run_on_ranks(size, train, run, STEPS)[0]
    finally:
        ranks.stop_ranks()
    return found


def compare(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The largest relative differences of losses and gradient norms."""
    assert one["steps"].keys() == other["steps"].keys(), "other models or layouts"
    pairs = [
        (mine, theirs)
        for name in one["steps"]
        for mine, theirs in zip(one["steps"][name], other["steps"][name], strict=True)
    ]
    return {
        "versions": [f"{part['megatron-core']} on torch {part['torch']}" for part in (one, other)],
        "steps": len(pairs),
        "loss_rel_diff": max(abs(mine[0] - theirs[0]) / abs(theirs[0]) for mine, theirs in pairs),
        "grad_norm_rel_diff": max(abs(mine[1] - theirs[1]) / abs(theirs[1]) for mine, theirs in pairs),
    }


if __name__ == "__main__":
    sys.exit(main())
