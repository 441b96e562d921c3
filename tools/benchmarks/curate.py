"""Speed and memory of `redone curate` on one core: short posts, and long texts.

    python tools/lay_out_shared_data.py --from ../shared/data --to DATA
    python tools/benchmarks/curate.py --data DATA [--repeats 3]

Every run is a fresh process with one task. Figures are megabytes of input for a second of processor time,
all passes together: cleaning, filters, exact and MinHash duplicates, held-out documents, checks.
"""

import os
import sys

# The module `tokenize` of the standard library is hidden by a script in this folder, unless that comes last.
HERE = os.path.dirname(__file__)
sys.path[:] = [*(path for path in sys.path if os.path.abspath(path) != os.path.abspath(HERE)), HERE]

import argparse
import json
import statistics
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from recording import record


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        cpu_s: Processor seconds, user and system, start-up included.
        peak_rss_mb: Of the largest process.
        documents: That came in.
        kept: For training and held out.
    """

    cpu_s: float
    peak_rss_mb: float
    documents: int
    kept: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder that lay_out_shared_data.py wrote")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    metrics: dict[str, float] = {}
    for kind in ("social", "general"):
        path = arguments.data / "posts" / f"{kind}.jsonl"
        runs = [curate(path, kind) for _ in range(arguments.repeats)]
        metrics |= figures(kind, path.stat().st_size / 1e6, runs)
    notes = (
        f"Medians of {arguments.repeats} runs. Processor time, not wall clock, so that other work on the machine "
        "counts for little; it includes a second of imports."
    )
    record("curate", metrics, ["datatrove", "xxhash", "numpy", "orjson"], notes)


def curate(path: Path, kind: str) -> Run:
    """Curates one file in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        sources = f"sources=[{{name: posts, input: {path}, kind: {kind}}}]"
        command = [sys.executable, "-m", "megatron_redone", "curate", sources, f"output_dir={folder}/out"]
        process = subprocess.Popen([*command, "tasks=1", "workers=1"], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"failed with status {status}")
        rows = json.loads((Path(folder) / "out/funnel.json").read_text())["rows"]
    first, last = rows[0], rows[-1]
    kept = last["left"]["documents"] + last["held_out"]["documents"]
    return Run(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, first["entered"]["documents"], kept)


def figures(kind: str, megabytes: float, runs: list[Run]) -> dict[str, float]:
    """Flat metrics of one kind of source."""
    speeds = [megabytes / run.cpu_s for run in runs]
    return {
        f"{kind}_mb": megabytes,
        f"{kind}_documents": runs[0].documents,
        f"{kind}_kept": runs[0].kept,
        f"{kind}_mb_per_cpu_s": statistics.median(speeds),
        f"{kind}_mb_per_cpu_s_min": min(speeds),
        f"{kind}_mb_per_cpu_s_max": max(speeds),
        f"{kind}_documents_per_cpu_s": statistics.median(run.documents / run.cpu_s for run in runs),
        f"{kind}_peak_rss_mb": statistics.median(run.peak_rss_mb for run in runs),
    }


if __name__ == "__main__":
    main()
