"""Runs of the real command line, and the figures that they leave."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def redone(stage: str, *keys: str, threads: int = 0) -> float:
    """Runs a stage in one process and returns the seconds it took.

    Raises:
        CalledProcessError: it failed.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads or os.cpu_count() or 1)}
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "megatron_redone", stage, *keys], check=True, env=environment)
    return time.perf_counter() - begin


def records(run: Path) -> list[dict[str, Any]]:
    """What metrics.jsonl of a run holds."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def validation(run: Path, figure: str) -> list[float]:
    """A figure of all validations of a run, from its first to its last step."""
    name = f"validation/{figure}"
    return [record[name] for record in records(run) if name in record]


def latest_checkpoint(run: Path) -> Path:
    """The checkpoint of the last step."""
    return max((run / "checkpoints").glob("step-*"))
