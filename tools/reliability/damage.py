#!/usr/bin/env python3
"""Damages one file at a time and runs the command that reads it: is the file named, or the result what it was?

    python tools/reliability/damage.py --trials 1000 --results FILE.jsonl

Every kind of file that a stage leaves for another is damaged in turn: a byte flipped, cut short, emptied, removed, or
exchanged with that of another step or another dataset. What came of each trial is a line of the results; a run that was
interrupted goes on. An outcome is

    named      exit code 2, one line, the file's name in it; or it is said that the file is not there
    told       exit code 2, one line without its name
    older      the older checkpoint was used, as configured, and the result is the undamaged one's, bit by bit
    same       the result is the undamaged one's, bit by bit: the bytes did not count, or were made again
    silent     another result, and nothing was said
    traceback  a traceback, or another exit code
"""

import argparse
import collections
import json
import random
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tools.reliability import forked
from tools.reliability.damage_cases import CASES, Case, build, copy_world
from tools.reliability.forked import Ended

HARMS = ("flip", "cut", "empty", "missing", "exchange")


@dataclass(frozen=True)
class Trial:
    """One damage, and what came of it."""

    number: int
    case: str
    file: str
    harm: str
    outcome: str
    said: str


def main() -> int:
    """Tries until there are as many trials as wanted, and prints the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--results", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts = try_many(arguments.trials, arguments.results, Path(folder))
    print(json.dumps(counts, indent=2))
    return 1 if counts["silent"] or counts["traceback"] else 0


def try_many(trials: int, results: Path, folder: Path) -> dict[str, int]:
    """Goes on to `trials` trials, a line each in `results`; the counts of their outcomes, and of all."""
    done = {trial["number"] for trial in read(results)}
    if len(done) < trials:
        forked.preload()
        build(folder / "world")
        truths = {case.name: _truth(case, folder) for case in CASES}
        for number in sorted(set(range(trials)) - done):
            trial = _try(number, CASES[number % len(CASES)], truths, folder)
            with open(results, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(vars(trial)) + "\n")
    return count(results)


def read(results: Path) -> list[dict[str, Any]]:
    """The trials of a file; one that is taken out of it is tried again."""
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


def count(results: Path) -> dict[str, int]:
    """How often each outcome stands in the results, and how many there are."""
    done = read(results)
    outcomes = collections.Counter(trial["outcome"] for trial in done)
    names = ("named", "told", "older", "same", "silent", "traceback")
    return {"trials": len(done), **{name: outcomes[name] for name in names}}


def _truth(case: Case, folder: Path) -> str:
    world = _copy(folder)
    ended = _run(case, world)
    assert ended.code == 0, f"{case.name}: {ended.said}"
    return case.result(world, ended.said)


def _try(number: int, case: Case, truths: dict[str, str], folder: Path) -> Trial:
    draw = random.Random(number)
    world = _copy(folder)
    files = sorted(file for pattern in case.damaged for file in world.glob(pattern) if file.is_file())
    file = draw.choice(files)
    harm = draw.choice(HARMS)
    if harm == "exchange":
        harm = _exchange(world, file, case, draw)
    _damage(file, harm, draw)
    ended = _run(case, world)
    outcome = _outcome(case, file, ended, truths[case.name], world)
    return Trial(
        number, case.name, str(file.relative_to(world)), harm, outcome, ended.said[-600:].replace(str(world), "")
    )


def _exchange(world: Path, file: Path, case: Case, draw: random.Random) -> str:
    """Puts another's file in its place; flips a byte where there is none, or none that differs."""
    others = [other for other in case.others(world, file) if other.read_bytes() != file.read_bytes()]
    if not others:
        return "flip"
    _replace(file, draw.choice(others).read_bytes())
    return "exchange"


def _damage(file: Path, harm: str, draw: random.Random) -> None:
    content = bytearray(file.read_bytes())
    if harm == "flip" and content:
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        _replace(file, content)
    elif harm == "cut":
        _replace(file, content[: draw.randrange(len(content))] if content else b"")
    elif harm == "empty":
        _replace(file, b"")
    elif harm == "missing":
        file.unlink()


def _replace(file: Path, content: bytes | bytearray) -> None:
    file.unlink()  # it may be a link
    file.write_bytes(content)


def _copy(folder: Path) -> Path:
    copy_world(folder / "world", folder / "trial")
    return folder / "trial"


def _run(case: Case, world: Path) -> Ended:
    log = world / "said.txt"
    said = ""
    for arguments in case.commands(world):
        log.unlink(missing_ok=True)
        ended = forked.redone(arguments, log)
        said += ended.said
        if ended.code != 0:
            return Ended(ended.code, said)
    return Ended(0, said)


def _outcome(case: Case, file: Path, ended: Ended, truth: str, world: Path) -> str:
    if "Traceback" in ended.said or ended.code not in (0, 2):
        return "traceback"
    if ended.code == 2:
        lines = [line for line in ended.said.splitlines() if re.match(r"redone\b.*?: ", line)]
        return "named" if any(file.name in line for line in lines) else "told"
    if case.result(world, ended.said) != truth:
        return "named" if f"{file.name}: " in ended.said else "silent"
    return "older" if "; going on from step-" in ended.said else "same"


if __name__ == "__main__":
    sys.exit(main())
