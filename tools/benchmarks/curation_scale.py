"""Memory and time of `redone curate` on much text: real posts and texts, and varied copies of them; one worker.

    python tools/lay_out_shared_data.py --from ../shared/data --to DATA
    python tools/benchmarks/curation_scale.py --data DATA --work FOLDER --part memory
    python tools/benchmarks/curation_scale.py --data DATA --work FOLDER --part million [--documents 1000000]

Parts:

    memory      peaks at 50 and at 500 MB of input (--megabytes)
    million     a million documents: seconds, disk, and from them a table of what 100 B tokens cost

Of the bytes a sixth is general text, as in DATA. An input that is in FOLDER already is taken as it is.
"""

import os
import sys

# The module `tokenize` of the standard library is hidden by a script in this folder, unless that comes last.
HERE = os.path.dirname(__file__)
sys.path[:] = [*(path for path in sys.path if os.path.abspath(path) != os.path.abspath(HERE)), HERE]

import argparse
import itertools
import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from recording import record_part
from varied_posts import varied_records

from megatron_redone.config.curate import MinHashConfig
from megatron_redone.curation.cutting import part_count, task_count
from megatron_redone.curation.sorted_runs import read_part, write_runs

_PACKAGES = ["datatrove", "numpy", "xxhash", "orjson"]
_KINDS = {"social": 5 / 6, "general": 1 / 6}
_TOKENS = 100e9
_SAMPLE = 20_000
_PASS = re.compile(r"\d+ of \d+  (.+?) +([\d.]+) s  \(")
_OF_ONE_TASK = ("check records", "gather exact duplicates", "choose who stays", "choose held out", "check and finish")
_LOOK_EVERY_S = 0.5
_OPENED, _OPENED_DOCUMENTS = 2048, 600
_COLUMNS = 1 + MinHashConfig().buckets


@dataclass(frozen=True)
class Run:
    """What a run took.

    Attributes:
        wall_s: By the clock.
        cpu_s: Of its process.
        peak_mb: Resident at most, pages of files that are mapped into memory counted.
        anonymous_mb: Without these.
        disk_mb: Of the output folder with everything between passes, at most.
        passes: Seconds of each pass, by its name.
    """

    wall_s: float
    cpu_s: float
    peak_mb: float
    anonymous_mb: float
    disk_mb: float
    passes: dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder that lay_out_shared_data.py wrote")
    parser.add_argument("--work", type=Path, required=True, help="where inputs and outputs go: gigabytes")
    parser.add_argument("--part", choices=PARTS, required=True)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[50, 500], help="part memory: sizes of the input")
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--notes", default="", help="part million: of the machine, to be written down")
    parser.add_argument("--tokenizer", type=Path, help="part million: counts the tokens of a sample")
    PARTS[(arguments := parser.parse_args()).part](arguments)


def memory(arguments: argparse.Namespace) -> None:
    """The peak at each size."""
    for megabytes in arguments.megabytes:
        folder, most = arguments.work / f"{megabytes}mb", megabytes * 1e6
        inputs = write_inputs(arguments.data, folder, lambda _, size, most=most: size < most)
        run = curate(inputs, folder / "out")
        metrics = {
            f"peak_mb_{megabytes}": run.peak_mb,
            f"peak_anonymous_mb_{megabytes}": run.anonymous_mb,
            f"cpu_s_mb_{megabytes}": run.cpu_s,
        }
        notes = "one worker, tasks of 64 MB; peak_mb counts pages of libraries too, peak_anonymous_mb does not"
        record_part("curation_speed", f"memory_{megabytes}", metrics, _PACKAGES, notes)


def opening_s(folder: Path) -> float:
    """Seconds of reading a range of hashes of one task, where there are many tasks; files are in the page cache."""
    rng, parts = np.random.default_rng(0), 512
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for task in range(_OPENED):
        columns = (rng.integers(0, 1 << 64, _OPENED_DOCUMENTS, np.uint64) for _ in range(_COLUMNS))
        write_runs(folder, task, columns, parts)
    times = []
    for part in range(15):
        started = time.perf_counter()
        for task in range(_OPENED):
            read_part(folder, task, part % _COLUMNS, part * parts // 15, parts)
        times.append((time.perf_counter() - started) / _OPENED)
    shutil.rmtree(folder)
    return float(np.median(times))


def million(arguments: argparse.Namespace) -> None:
    """So many documents, and what 100 B tokens would cost."""
    most = arguments.documents
    inputs = write_inputs(arguments.data, arguments.work / f"{most}", lambda number, _: number < most)
    run = curate(inputs, arguments.work / f"{most}/out")
    megabytes = sum(file.stat().st_size for file in inputs.values()) / 1e6
    kept, tokens = kept_of(arguments.work / f"{most}/out", arguments.tokenizer)
    metrics: dict[str, float] = {
        "million_documents": most,
        "million_documents_s": run.wall_s,
        "million_documents_cpu_s": run.cpu_s,
        "million_documents_mb": megabytes,
        "million_documents_kept": kept,
        "million_documents_kept_tokens": tokens,
        "million_documents_disk_mb": run.disk_mb,
        "million_documents_peak_mb": run.peak_mb,
    }
    if tokens:
        seconds = opening_s(arguments.work / "openings")
        metrics |= {"opening_us": seconds * 1e6, **costs(run, megabytes, tokens, seconds)}
        print(table(metrics))
    passes = ", ".join(f"{name} {seconds:.0f}" for name, seconds in run.passes.items())
    notes = f"{most} documents, one worker{arguments.notes}; seconds of the passes: {passes}"
    record_part("curation_speed", "million", metrics, _PACKAGES, notes)


def write_inputs(data: Path, folder: Path, more: Callable[[int, float], bool]) -> dict[str, Path]:
    """A file of each kind, as long as `more(documents, bytes)` of both together says so."""
    files = {kind: folder / f"{kind}.jsonl" for kind in _KINDS}
    folder.mkdir(parents=True, exist_ok=True)
    if not all(file.is_file() for file in files.values()):
        found = {kind: (data / "posts" / f"{kind}.jsonl").stat() for kind in _KINDS}
        documents = {kind: sum(1 for _ in (data / "posts" / f"{kind}.jsonl").open("rb")) for kind in _KINDS}
        for kind, file in files.items():
            of_documents = documents[kind] / sum(documents.values())
            of_bytes = found[kind].st_size / sum(one.st_size for one in found.values())
            size = 0
            with file.with_suffix(".partial").open("wb") as stream:
                for number, one in enumerate(varied_records(data / "posts" / f"{kind}.jsonl")):
                    if not more(int(number / of_documents), size / of_bytes):
                        break
                    size += stream.write(json.dumps(one, ensure_ascii=False).encode() + b"\n")
            file.with_suffix(".partial").rename(file)
    return files


def curate(inputs: dict[str, Path], output: Path) -> Run:
    """Curates in a fresh process with one worker."""
    shutil.rmtree(output, ignore_errors=True)
    languages = ", languages: [zh, en]"
    sources = ", ".join(
        f"{{name: {kind}, kind: {kind}, input: {file}{languages if kind == 'social' else ''}}}"
        for kind, file in inputs.items()
    )
    command = [
        sys.executable,
        "-m",
        "megatron_redone",
        "curate",
        f"sources=[{sources}]",
        f"output_dir={output}",
        "workers=1",
    ]
    started = time.perf_counter()
    log = output.with_suffix(".log")
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stream)
        watch = _Watch(process.pid, output)
        _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    watch.end()
    if status:
        raise SystemExit(log.read_text()[-2000:])
    passes = {name: float(seconds) for name, seconds in _PASS.findall(log.read_text())}
    cpu = usage.ru_utime + usage.ru_stime
    return Run(wall, cpu, usage.ru_maxrss / 1024, watch.anonymous_mb, watch.disk_mb, passes)


class _Watch:
    """Looks at a process's memory without mapped files, and at what lies in a folder."""

    def __init__(self, process: int, folder: Path) -> None:
        self.anonymous_mb = self.disk_mb = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, args=(Path(f"/proc/{process}/status"), folder), daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self, status: Path, folder: Path) -> None:
        for turn in itertools.count():
            found = re.search(r"RssAnon:\s+(\d+) kB", status.read_text()) if status.exists() else None
            self.anonymous_mb = max(self.anonymous_mb, int(found[1]) / 1024 if found else 0.0)
            if turn % 10 == 0:
                self.disk_mb = max(self.disk_mb, _size(folder) / 1e6)
            if self._stop.wait(_LOOK_EVERY_S):
                return


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # gone since
            continue
    return total


def kept_of(output: Path, tokenizer: Path | None) -> tuple[int, float]:
    """Documents kept, and their tokens, reckoned from a sample."""
    kept, characters, tokens = 0, 0, 0.0
    files = [output / f"{kind}.jsonl" for kind in _KINDS]
    for file in files:
        texts = [json.loads(line)["text"] for line in file.open(encoding="utf-8")]
        kept += len(texts)
        if tokenizer is not None:
            sample = texts[:: max(1, len(texts) // _SAMPLE)]
            tokens += sum(map(_counter(tokenizer), sample)) * sum(map(len, texts)) / sum(map(len, sample))
        characters += sum(map(len, texts))
    return kept, tokens


def _counter(tokenizer: Path) -> Callable[[str], int]:
    from megatron_redone.config.tokenizer import TokenizerConfig
    from megatron_redone.curation.counting import TokenCounter

    return TokenCounter(TokenizerConfig(path=str(tokenizer))).count


def costs(run: Run, megabytes: float, tokens: float, opening_s: float) -> dict[str, float]:
    """What 100 B tokens that are kept cost: in proportion, but for openings, of which there are tasks times parts."""
    times = _TOKENS / tokens
    size = int(megabytes * 1e6 * times)
    openings_s = opening_s * _COLUMNS * task_count(size) * part_count(size)
    alone_s = sum(run.passes[name] for name in _OF_ONE_TASK)
    return {
        "cost_100b_input_tb": megabytes * times / 1e6,
        "cost_100b_core_hours": (run.cpu_s * times + openings_s) / 3600,
        "cost_100b_openings_core_hours": openings_s / 3600,
        "cost_100b_single_task_hours": alone_s * times / 3600,
        "cost_100b_disk_tb": run.disk_mb * times / 1e6,
        "cost_100b_worker_mb": run.peak_mb,
    }


def table(metrics: dict[str, float]) -> str:
    """For benchmarks/README.md."""
    rows = {
        "input": f"{metrics['cost_100b_input_tb']:.2f} TB",
        "all passes": f"{metrics['cost_100b_core_hours']:,.0f} core-hours",
        "of them in passes of one task": f"{metrics['cost_100b_single_task_hours']:.1f} hours",
        "disk at most, results and what lies between passes": f"{metrics['cost_100b_disk_tb']:.2f} TB",
        "memory of a worker": f"{metrics['cost_100b_worker_mb']:,.0f} MB",
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join(["| what | 100 B tokens kept |", "| --- | --- |", *lines])


PARTS = {"memory": memory, "million": million}

if __name__ == "__main__":
    main()
