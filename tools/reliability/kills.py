#!/usr/bin/env python3
"""Kills short runs again and again, and compares what they end with to a run that nobody disturbed.

    python tools/reliability/kills.py --kills 1000 --results FILE.jsonl
    python tools/reliability/kills.py --starting 200

Two ranks train a small model; after every kill the same command is given again, nothing else is done. Killed
(SIGKILL) are one rank, all ranks, or the launcher alone, by turns. Four in ten kills wait until a checkpoint is being
written, one in ten comes while the run starts, the others at a random moment. By turns the ranks share the optimizer's
state, the tensors or the layers, and save beside training or not. Every twentieth run is started by torchrun itself; of
the others the launcher is a fork of this process, which has everything imported, and gives its ranks the variables of
torchrun.

A run that has been killed often enough comes to its end, and is compared: the weights and the optimizer's state bit by
bit, the steps in metrics.jsonl, leftovers beside the checkpoints, processes that go on. Every kill and every run is a
line of the results, and a proof that was interrupted goes on.

`--starting` kills launchers alone, within the moments in which their ranks come to life, and counts ranks that go on.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from megatron_redone.checkpoint.checksums import read_checksums
from megatron_redone.checkpoint.folder import CheckpointFolder
from megatron_redone.cli import main as redone
from tests.helpers.commands import under_torchrun
from tests.helpers.pretrain_runs import figures, write_inputs
from tools.reliability import forked

RANKS = 2
STEPS = 24
KILLS_A_RUN = 10
LAYOUTS = {
    "dp2": [],
    "tp2": ["parallel.tensor_model_parallel_size=2"],
    "pp2": ["parallel.pipeline_model_parallel_size=2"],
}
VICTIMS = ("rank", "all ranks", "launcher")
_POLL = 0.002
_HANGS = 240.0
_STARTING = 10.0  # within which the ranks of a launcher that was killed early must have ended


@dataclass(frozen=True)
class Plan:
    """A run: its number decides all of it."""

    number: int

    @property
    def layout(self) -> str:
        """How the ranks share the model."""
        return list(LAYOUTS)[self.number % len(LAYOUTS)]

    @property
    def is_async(self) -> bool:
        """Whether checkpoints are written while training goes on."""
        return self.number // len(LAYOUTS) % 2 == 1

    @property
    def by_torchrun(self) -> bool:
        """Whether torchrun itself starts the ranks."""
        return self.number % 20 == 7

    def keys(self, inputs: list[str], output: Path) -> list[str]:
        """The arguments of the command."""
        saves = ["checkpoint.save_every=2", "checkpoint.keep_last=2", f"checkpoint.async_save={self.is_async}"]
        return ["pretrain", *inputs, *LAYOUTS[self.layout], *saves, f"training.train_steps={STEPS}",
                f"output_dir={output}"]  # fmt: skip


def main() -> int:
    """Kills until there are as many kills as wanted, and prints the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--starting", type=int)
    arguments = parser.parse_args()
    if (arguments.results is None) == (arguments.starting is None):
        parser.error("name either --results or --starting")
    with tempfile.TemporaryDirectory() as folder:
        if arguments.starting is not None:
            orphaned = kill_starting(arguments.starting, Path(folder))
            print(json.dumps({"kills_starting": arguments.starting, "kills_starting_orphaned": orphaned}))
            return int(orphaned > 0)
        counts = kill_many(arguments.kills, arguments.results, Path(folder))
    print(json.dumps(counts, indent=2))
    return 0 if counts["runs"] == counts["runs_bit_equal"] and not counts["leftovers"] else 1


def kill_many(kills: int, results: Path, folder: Path, kills_a_run: int = KILLS_A_RUN) -> dict[str, int]:
    """Goes on to `kills` kills in whole runs; the counts. Only kills of runs that were compared are counted."""
    forked.preload()
    inputs, truths = write_inputs(folder / "inputs"), {}
    while (counts := count(results))["kills"] < kills:
        plan = Plan(counts["runs"])
        if plan.layout not in truths:
            truths[plan.layout] = _undisturbed(plan, inputs, folder)
        for record in _run(plan, inputs, folder, truths[plan.layout], min(kills_a_run, kills - counts["kills"])):
            with open(results, "a", encoding="utf-8") as stream:
                stream.write(json.dumps({"run": plan.number, **record}) + "\n")
    return count(results)


def kill_starting(kills: int, folder: Path) -> int:
    """Kills as many launchers as soon as they have a rank; after how many of them one went on."""
    forked.preload()
    inputs, plan, draw, orphaned = write_inputs(folder / "inputs"), Plan(0), random.Random(0), 0
    for _ in range(kills):
        life = _Life(plan, plan.keys(inputs, folder / "run"), folder / "log")
        while not _children(life.launcher):
            time.sleep(_POLL / 10)
        life.lives_for(draw.choice((0.0, 0.002, 0.01, 0.05)))
        life.kill("launcher", draw)
        orphaned += bool(life.end(_STARTING))
    return orphaned


def count(results: Path) -> dict[str, int]:
    """What the lines of the results say."""
    lines = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    runs = {line["run"]: line for line in lines if "bit_equal" in line}
    kills = [line for line in lines if "victim" in line and line["run"] in runs]
    return {
        "kills": len(kills),
        **{f"kills_of_{victim.replace(' ', '_')}": sum(k["victim"] == victim for k in kills) for victim in VICTIMS},
        "kills_within_a_write": sum(kill["within_a_write"] for kill in kills),
        "kills_saving_beside_training": sum(kill["async"] for kill in kills),
        "kills_by_torchrun": sum(kill["torchrun"] for kill in kills),
        "runs": len(runs),
        "runs_bit_equal": sum(run["bit_equal"] for run in runs.values()),
        "leftovers": sum(len(run["leftovers"]) for run in runs.values()),
    }


def _undisturbed(plan: Plan, inputs: list[str], folder: Path) -> str:
    output = folder / f"truth-{plan.layout}"
    life = _Life(plan, plan.keys(inputs, output), folder / "truth.log")
    code = life.wait()
    assert code == 0, life.log.read_text()[-3000:]
    return _result(output)


def _run(plan: Plan, inputs: list[str], folder: Path, truth: str, kills: int) -> Iterator[dict[str, object]]:
    """One run: a record of every kill, and last one of what came of it."""
    draw, output, done = random.Random(plan.number), folder / "run", 0
    shutil.rmtree(output, ignore_errors=True)
    log = folder / "run.log"
    log.unlink(missing_ok=True)
    orphans: list[str] = []
    while True:
        life = _Life(plan, plan.keys(inputs, output), log)
        if done == kills:
            code = life.wait()
            break
        aim = draw.choices(("start", "write", "any"), (1, 4, 5))[0]
        victim = VICTIMS[(plan.number + done) % len(VICTIMS)]
        if not _wait_for(aim, life, output, draw):
            code = life.wait()  # it has ended before: with one kill fewer
            break
        within = bool(list(output.glob("checkpoints/*.partial")))
        victim = life.kill(victim, draw)
        orphans += life.end()
        done += 1
        yield {"victim": victim, "aim": aim, "within_a_write": within, "async": plan.is_async,
               "torchrun": plan.by_torchrun}  # fmt: skip
    leftovers = [path.name for path in output.glob("checkpoints/*") if path.suffix in (".partial", ".removed", ".lock")]
    told = log.read_text(errors="replace")
    yield {
        "bit_equal": code == 0 and _result(output) == truth,
        "code": code,
        "layout": plan.layout,
        "leftovers": [*leftovers, *orphans],
        "said": "" if code == 0 else told[-2000:],
    }


def _wait_for(aim: str, life: "_Life", output: Path, draw: random.Random) -> bool:
    """Waits for the moment of a kill; false where the run has ended before."""
    begun = time.monotonic()
    if aim == "start":
        return life.lives_for(draw.uniform(0.0, 1.5))
    # A life that saves nothing would repeat itself; the kill comes after its first save has begun or been done.
    before = set(output.glob("checkpoints/step-*"))
    while not set(output.glob("checkpoints/step-*")) - before:
        if not life.lives_for(_POLL):
            return False
        if time.monotonic() - begun > _HANGS:
            raise RuntimeError(f"no checkpoint within {_HANGS} s: {life.log.read_text(errors='replace')[-2000:]}")
    if aim == "any":
        return life.lives_for(draw.uniform(0.0, 1.0))
    while not list(output.glob("checkpoints/*.partial")):
        if not life.lives_for(_POLL):
            return False
    return life.lives_for(draw.choice((0.0, draw.uniform(0.0, 0.02))))


def _result(output: Path) -> str:
    """Weights and optimizer's state of the last checkpoint, bit by bit, and which steps were recorded."""
    folder = CheckpointFolder(output / "checkpoints")
    checkpoint = folder.latest()
    assert checkpoint is not None
    checksums = read_checksums(checkpoint)
    checksums.check_all()
    tensors = sorted((name, found) for name, found in checksums.files.items() if name.endswith(".distcp"))
    return repr((folder.steps(), tensors, sorted(figures(output).items())))


class _Life:
    """A run from a command to a kill, or to its end."""

    def __init__(self, plan: Plan, arguments: list[str], log: Path) -> None:
        self.log = log
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if plan.by_torchrun:
            words = under_torchrun(RANKS, *arguments)
            self.launcher = forked.start(lambda: os.execv(words[0], words), log)
        else:
            self.launcher = forked.start(lambda: _launch(arguments, port, log), log)
        self._code: int | None = None

    def lives_for(self, seconds: float) -> bool:
        """Waits; false where it has ended."""
        end = time.monotonic() + seconds
        while self._look() is None:
            rest = end - time.monotonic()
            if rest <= 0:
                return True
            time.sleep(min(rest, _POLL))
        return False

    def wait(self) -> int | None:
        """Waits for the end; the code, or None where it hangs."""
        if self.lives_for(_HANGS):
            self.kill("all ranks", random.Random(0))
            self.end()
            return None
        return self._code

    def kill(self, victim: str, draw: random.Random) -> str:
        """Kills one rank, all ranks, or the launcher, which is killed also where there is no rank yet; which it was."""
        self._ranks = _children(self.launcher)
        if not self._ranks:
            victim = "launcher"
        of = {"rank": draw.sample(self._ranks, min(1, len(self._ranks))), "all ranks": self._ranks}
        for process in of.get(victim, [self.launcher]):
            _kill(process)
        return victim

    def end(self, seconds: float = 60.0) -> list[str]:
        """Waits until launcher and ranks are gone; what those do that are still there after so long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._look() is not None and not any(map(_is_alive, self._ranks)):
                return []
            time.sleep(0.01)
        remaining = [process for process in [self.launcher, *self._ranks] if _is_alive(process)]
        doing = [_described(process) for process in remaining]
        for process in remaining:
            _kill(process)
        self._look()
        return doing

    def _look(self) -> int | None:
        if self._code is None:
            done, status = os.waitpid(self.launcher, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if done else None
        return self._code


def _launch(arguments: list[str], port: int, log: Path) -> int:
    """What torchrun does: starts the ranks, and ends them all where one fails."""
    variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(RANKS),
                 "TORCHELASTIC_RUN_ID": "kills", "CUDA_DEVICE_MAX_CONNECTIONS": "1"}  # fmt: skip
    ranks = [
        forked.start(lambda: redone(arguments), log, {**variables, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(RANKS)
    ]
    code = 0
    while ranks:
        process, status = os.wait()
        ranks.remove(process)
        if status and not code:
            code = abs(os.waitstatus_to_exitcode(status))
            for other in ranks:
                os.kill(other, signal.SIGTERM)
                time.sleep(0.5)
                _kill(other)
    return code


def _children(process: int) -> list[int]:
    try:
        return [int(text) for text in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def _is_alive(process: int) -> bool:
    """Whether it runs; one that has ended and that nobody has asked for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _described(process: int) -> str:
    """Whose child it is, and in which calls of the system its threads are."""
    try:
        parent = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1]
        calls = sorted(path.read_text() for path in Path(f"/proc/{process}/task").glob("*/wchan"))
    except OSError:
        return f"process {process}, gone by now"
    return f"process {process} of {parent} in {', '.join(calls)}"


def _kill(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
