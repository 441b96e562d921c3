"""Runs of `redone curate` on a small corpus, by any of its executors, and what they leave."""

import contextlib
import hashlib
import json
import random
import sys
import time
from pathlib import Path

import psutil

from tests.helpers.words import WORDS

TASKS = 3


def write_corpus(file: Path, texts: int = 120) -> None:
    """Texts, some of them twice or nearly so, some too short."""
    chosen = random.Random(1)
    found = [" ".join(chosen.choices(WORDS, k=chosen.choice([1, 20, 40]))) for _ in range(texts)]
    near = [f"{text} again" for text in found[: texts // 6]]
    records = [
        json.dumps({"id": str(number), "text": text})
        for number, text in enumerate([*found, *found[: texts // 6], *near])
    ]
    file.write_text("\n".join(records) + "\n")


def curate_command(posts: Path, output: Path, *keys: str) -> list[str]:
    """The command line, with as many tasks as `TASKS`."""
    sources = f"sources=[{{name: posts, input: {posts}}}]"
    command = [sys.executable, "-m", "megatron_redone", "curate", sources, f"output_dir={output}"]
    return [*command, "held_out.fraction=0.1", f"tasks={TASKS}", *keys]


def fingerprints(output: Path) -> dict[str, str]:
    """Every file of a result, documents and counts alike, but for the manifest, which names the executor."""
    return {
        str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(output.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }


def slurm_tasks(logs: Path) -> list[psutil.Process]:
    """Processes of jobs of Slurm that are at work on passes whose logs lie in a folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline() or [""]
            if "python" in words[0] and any("launch_pickled" in word for word in words) and str(logs) in words[-1]:
                found.append(process)
    return found


def kill_slurm_task(work: Path, seconds: float = 60) -> None:
    """Kills the first task that is at work for a run."""
    deadline = time.monotonic() + seconds
    while not (found := slurm_tasks(work / "logs")):
        assert time.monotonic() < deadline, "no task has begun"
        time.sleep(0.05)
    found[0].kill()
