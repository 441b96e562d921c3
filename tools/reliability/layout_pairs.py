#!/usr/bin/env python3
"""Saves a model on ten layouts of four ranks and loads every checkpoint on every layout, bit by bit.

    python tools/reliability/layout_pairs.py [--record]

Tied and untied embeddings, fp32 and bf16: 400 pairs. Prints the counts as JSON; the pairs that differ are named.
"""

import itertools
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from megatron_redone.config.model import Precision
from tests.helpers.layout_states import LAYOUTS, Kind, load_each_on_each, save_on_each
from tests.helpers.ranks import run_on_ranks
from tools.benchmarks.recording import record_part

_TIMEOUT = 1800.0


def main() -> None:
    """Tries all pairs."""
    pairs, differ = 0, []
    for tied, precision in itertools.product((True, False), (Precision.bf16, Precision.fp32)):
        kind, names = Kind(tied=tied, precision=precision), list(LAYOUTS)
        with tempfile.TemporaryDirectory() as folder:
            run_on_ranks(4, save_on_each, kind, names, Path(folder), timeout=_TIMEOUT)
            of_ranks = run_on_ranks(4, load_each_on_each, kind, names, Path(folder), timeout=_TIMEOUT)
        pairs += len(of_ranks[0])
        differ += [f"{kind}: {name}" for name in of_ranks[0] if any(found[name] for found in of_ranks)]
    print(json.dumps({"pairs": pairs, "pairs_that_differ": len(differ), "differ": differ}, indent=2))
    if len(sys.argv) > 1 and sys.argv[1] == "--record":
        metrics = {"layout_pairs": pairs, "layout_pairs_equal": pairs - len(differ)}
        notes = "saved on one of ten layouts of four ranks, loaded on each, tied and untied, bf16 and fp32; bit by bit"
        record_part("checkpoints", "layouts", metrics, ("megatron-core", "torch"), notes)


if __name__ == "__main__":
    main()
