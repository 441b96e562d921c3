#!/usr/bin/env python3
"""Kills `redone curate` in each of its passes, on each executor, and compares what it ends with to an undisturbed run.

    python tools/reliability/curation_kills.py --results FILE.jsonl [--posts POSTS.jsonl] [--executors local ray slurm]
    python tools/reliability/record.py --curation FILE.jsonl [...]

For every executor a run is left alone, and for every pass one is killed (SIGKILL) at a random moment of it: the
command itself, or a process at work on a task; of Slurm's, whose command is over by then, the task alone. Then the
same command is given again, nothing else is done, until the result is complete. All documents, dropped records and
counts must be, byte for byte, those of the local executor with one worker. Every trial is a line of the results;
those that are there are not done again. Slurm is one of two machines in network namespaces of their own
(tests/helpers/slurm.py).
"""

import argparse
import contextlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.helpers.curation_runs import curate_command, fingerprints, slurm_tasks, write_corpus
from tests.helpers.slurm import Cluster, cluster

_TEXTS = 12_000
_LIMIT_S = 900
_POLL_S = 0.01
_SECONDS = re.compile(r" ([\d.]+) s  \(")  # of a pass, as the command tells of it
_KEYS = {
    "local": ["executor=local", "workers=2"],
    "ray": ["executor=ray", "workers=2"],
    "slurm": ["executor=slurm", "slurm.partition=main", "slurm.memory_gb=1"],
}
_VICTIMS = {"local": ("command", "worker"), "ray": ("command", "worker"), "slurm": ("worker",)}


@dataclass(frozen=True)
class Trial:
    """A run that is killed once, or never.

    Attributes:
        executor: Which.
        number: Of the pass, from 1; 0 for a run that is left alone.
        victim: The command, or a worker.
    """

    executor: str
    number: int
    victim: str


@dataclass(frozen=True)
class Outcome:
    """What came of a trial.

    Attributes:
        hit: Whether somebody was killed before the pass was over.
        equal: Whether the result is that of an undisturbed run.
        commands: How often the command was given.
        seconds: In all.
        leftovers: Processes of the run that go on after its end.
    """

    hit: bool
    equal: bool
    commands: int
    seconds: float
    leftovers: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--posts", type=Path, help="real posts, one JSON a line; else made ones")
    parser.add_argument("--executors", nargs="+", choices=list(_KEYS), default=list(_KEYS))
    arguments = parser.parse_args()
    done = set(read_trials(arguments.results))
    with tempfile.TemporaryDirectory(prefix="curation-kills") as folder, contextlib.ExitStack() as opened:
        posts = arguments.posts or Path(folder) / "posts.jsonl"
        if arguments.posts is None:
            write_corpus(posts, _TEXTS)
        expected, seconds = undisturbed(posts, Path(folder) / "expected")
        slurm = opened.enter_context(cluster()) if "slurm" in arguments.executors else None
        for trial in trials(arguments.executors, len(seconds)):
            if trial not in done:
                output = Path(folder) / f"{trial.executor}-{trial.number}-{trial.victim}"
                within = random.Random(f"{trial}").random() * ([0.0, *seconds][trial.number] / 2)
                outcome = run_trial(trial, within, posts, output, expected, slurm)
                line = json.dumps({**asdict(trial), **asdict(outcome)})
                print(line, flush=True)
                with arguments.results.open("a") as stream:
                    stream.write(line + "\n")


def trials(executors: Sequence[str], passes: int) -> Iterator[Trial]:
    """One without a kill for each executor, and one for each of its passes and victims."""
    for executor in executors:
        yield Trial(executor, 0, "nobody")
        yield from (Trial(executor, n, victim) for n in range(1, passes + 1) for victim in _VICTIMS[executor])


def read_trials(results: Path) -> list[Trial]:
    """Those that a file tells of."""
    lines = map(json.loads, results.read_text().splitlines()) if results.exists() else ()
    return [Trial(line["executor"], line["number"], line["victim"]) for line in lines]


def count(results: Sequence[Path]) -> dict[str, int]:
    """Flat metrics: `executors_equal` is 1 where all trials of all executors ended as they should."""
    lines = [json.loads(line) for file in results for line in file.read_text().splitlines()]
    executors = {line["executor"] for line in lines if line["number"] == 0}
    return {
        "executors_equal": int(executors == set(_KEYS) and all(line["equal"] for line in lines)),
        "executors_tried": len(executors),
        "executors_kills": sum(line["number"] > 0 for line in lines),
        "executors_kills_within_the_pass": sum(line["hit"] for line in lines),
        "executors_runs_equal": sum(line["equal"] for line in lines),
        "executors_runs": len(lines),
        "executors_leftovers": sum(line.get("leftovers", 0) for line in lines),
    }


def undisturbed(posts: Path, output: Path) -> tuple[dict[str, str], list[float]]:
    """What the local executor makes with one worker, and how many seconds each of its passes takes."""
    command = curate_command(posts, output, "workers=1")
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_LIMIT_S)
    return fingerprints(output), list(map(float, _SECONDS.findall(done.stderr)))


def run_trial(
    trial: Trial, within: float, posts: Path, output: Path, expected: dict[str, str], slurm: Cluster | None
) -> Outcome:
    """Gives the command, kills so many seconds within the pass, and gives it again until the result is complete."""
    started, hit, commands = time.monotonic(), False, 0
    command = curate_command(posts, output, *_KEYS[trial.executor])
    log = output.with_suffix(".log")
    while not is_complete(output):
        if time.monotonic() - started > _LIMIT_S:
            break
        run = start(command, slurm if trial.executor == "slurm" else None, log)
        commands += 1
        if trial.number and not hit and commands == 1:
            hit = kill(trial, output / "work", run, within)
        run.wait(_LIMIT_S)
        if trial.executor == "slurm" and slurm is not None:
            wait_for_jobs(slurm, output)
    if (equal := fingerprints(output) == expected) is False or commands > 2 + (trial.executor == "slurm"):
        print(log.read_text()[-6000:], file=sys.stderr)
    return Outcome(hit, equal, commands, round(time.monotonic() - started, 1), leftovers(output))


def leftovers(output: Path, seconds: float = 20) -> int:
    """Processes whose command names an output, and that do not end soon."""
    deadline = time.monotonic() + seconds
    word = f"output_dir={output}"
    while found := [one for one in psutil.process_iter(["cmdline"]) if word in (one.info["cmdline"] or ())]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.5)
    return len(found)


def is_complete(output: Path) -> bool:
    """Whether nothing is left to do; Slurm's jobs leave the work folder to the command."""
    return (output / "manifest.json").exists() and not (output / "work").exists()


def start(command: list[str], slurm: Cluster | None, log: Path) -> "subprocess.Popen[bytes]":
    """The command, on a login node where there is a Slurm."""
    words = command if slurm is None else slurm.hosts[0].command(*command)
    variables = {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    environment = {**os.environ, **variables} if slurm is None else slurm.environment(**variables)
    with log.open("ab") as stream:
        return subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=stream)


def kill(trial: Trial, work: Path, run: "subprocess.Popen[bytes]", within: float) -> bool:
    """Waits until a pass is at work, so long more, and kills; whether the pass was not over by then."""
    deadline = time.monotonic() + _LIMIT_S
    while not (begun := list(work.glob(f"logs/{trial.number:02d}-*/logs/task_*.log"))):
        if time.monotonic() > deadline or (run.poll() is not None and trial.executor != "slurm"):
            return False
        time.sleep(_POLL_S)
    time.sleep(within)
    logs = begun[0].parents[1]
    if trial.victim == "command":
        run.kill()
        return is_under_way(logs)
    for process in workers(trial.executor, work, logs, run.pid):
        with contextlib.suppress(psutil.Error):
            process.kill()
            return is_under_way(logs)
    return False


def is_under_way(logs: Path) -> bool:
    """Whether some task of a pass is not done."""
    try:
        tasks = json.loads((logs / "executor.json").read_text())["world_size"]
    except FileNotFoundError:  # the run has come to its end, and has taken its work away
        return False
    return len(list(logs.glob("completions/*"))) < tasks


def workers(executor: str, work: Path, logs: Path, command: int) -> list[psutil.Process]:
    """Processes that are at work on a task."""
    if executor == "slurm":
        return slurm_tasks(logs)
    if executor == "local":
        numbers = [int(path.name) for path in work.glob("running/*")]
        return [psutil.Process(number) for number in numbers if number != command and psutil.pid_exists(number)]
    found = []
    for process in psutil.Process(command).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            found += [process] if process.cmdline()[:1] == ["ray::_run_task"] else []
    return found


def wait_for_jobs(slurm: Cluster, output: Path) -> None:
    """Until no job is at work, and none waits for another than one that has failed."""
    deadline = time.monotonic() + _LIMIT_S
    while time.monotonic() < deadline:
        reasons = set(slurm.run("squeue", "--noheader", "--format=%r").split("\n")) - {""}
        if not reasons - {"Dependency", "DependencyNeverSatisfied"} and reasons != {"Dependency"}:
            return
        time.sleep(0.5)


if __name__ == "__main__":
    main()
