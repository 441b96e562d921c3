"""The form in which every benchmark leaves its figures."""

import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


@dataclass(frozen=True)
class Measured:
    """What a subprocess took."""

    seconds: float
    peak_rss_mb: float


def record(name: str, metrics: Mapping[str, float], packages: Sequence[str], notes: str) -> Path:
    """Writes benchmarks/results/NAME.json and prints it.

    Args:
        name: Of the benchmark.
        metrics: Flat names and numbers.
        packages: Those whose versions matter.
        notes: How it was measured, what the machine was doing besides.
    """
    return _write(name, {**_head(name, packages), "metrics": _all_rounded(metrics), "notes": notes})


def record_part(name: str, part: str, metrics: Mapping[str, float], packages: Sequence[str], notes: str) -> Path:
    """Writes a part of benchmarks/results/NAME.json, and leaves what other parts have measured as it is.

    Args:
        name: Of the benchmark.
        part: Which part of it; its line in the notes begins with this word.
        metrics: Flat names and numbers.
        packages: Those whose versions matter.
        notes: How this part was measured, what the machine was doing besides; one line.
    """
    path = RESULTS / f"{name}.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"metrics": {}, "notes": ""}
    head = _head(name, packages)
    lines = [line for line in before["notes"].splitlines() if not line.startswith(f"{part} (")]
    lines.append(f"{part} ({head['date']}, {head['command']}): {notes}")
    joined = {**before["metrics"], **_all_rounded(metrics)}
    return _write(name, {**head, "metrics": joined, "notes": "\n".join(lines)})


def _head(name: str, packages: Sequence[str]) -> dict[str, Any]:
    return {
        "name": name,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "machine": machine(),
        "versions": {"python": platform.python_version(), **{p: _version(p) for p in packages}},
        "command": " ".join(["python", *(_from_repository(word) for word in sys.argv)]),
    }


def _all_rounded(metrics: Mapping[str, float]) -> dict[str, float]:
    return {key: _rounded(value) for key, value in metrics.items()}


def _write(name: str, content: Mapping[str, Any]) -> Path:
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    text = json.dumps(content, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    print(text)
    return path


def machine() -> str:
    """Processor, cores and memory, in words."""
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if "model name" in line), "unknown CPU")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB"


def measure(command: Sequence[str]) -> Measured:
    """Runs a command in a fresh process: wall seconds, and the peak of its largest process.

    Raises:
        SystemExit: the command failed.
    """
    import time

    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    # wait4 tells the peak over the process and all descendants that it has waited for.
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"failed with status {status}: {' '.join(command)}")
    return Measured(seconds, usage.ru_maxrss / 1024)


def _rounded(value: float) -> float:
    """Four decimals, or four digits of what is small."""
    return round(value, 4) if abs(value) >= 0.1 else float(f"{value:.4g}")


def _from_repository(word: str) -> str:
    """A path as seen from the repository: where it lies on this machine is of no use to a reader."""
    return os.path.relpath(word, RESULTS.parents[1]) if os.path.exists(word) else word


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"
