"""Runs that were made somewhere, kept in the repository so that nobody has to make them again.

They are the lines of benchmarks/results/small_steps_runs.jsonl: what a run left in its file, and the machine.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.benchmarks.recording import RESULTS, machine

Run = dict[str, Any]
KEPT = RESULTS / "small_steps_runs.jsonl"
_DIGITS = 6


def name_of(run: Run) -> str:
    """`task/rate/side/seed`, as run files are called."""
    return f"{run['task']}/{run['lr']:g}/{run['side']}/{run['seed']}"


def kept_runs(path: Path = KEPT) -> dict[str, Run]:
    """All that are kept, by name."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {name_of(run): run for run in map(json.loads, lines)}


def keep_runs(work: Path, path: Path = KEPT) -> dict[str, Run]:
    """Adds the runs of a working folder to those that are kept; one of the same name takes the other's place.

    Returns:
        All that are kept now.
    """
    runs = kept_runs(path) | {name_of(run): run for run in _runs_of(work)}
    lines = [json.dumps(runs[name]) for name in sorted(runs)]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return runs


def _runs_of(work: Path) -> Iterator[Run]:
    for file in sorted((work / "runs").rglob("*.json")):
        run = json.loads(file.read_text())
        yield {**run, "losses": [round(loss, _DIGITS) for loss in run["losses"]], "machine": machine()}
