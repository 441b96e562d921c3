"""Breaks core code in one place at a time, and looks whether a test notices.

    python tools/mutations.py [--only PART_OF_A_NAME]

`tools/mutations.yaml` lists them: a file, the text that stands there once, the text that replaces it, and the test that
must fail. Each is applied to a copy of the repository. A mutation that is not killed, or whose text has gone, ends the
command with 1. A test that only fails to be collected does not count.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import yaml

REPOSITORY = Path(__file__).parents[1]
LIST = Path(__file__).with_suffix(".yaml")
_NOT_COPIED = (".git", ".venv", ".clients", "__pycache__", "work", ".pytest_cache", ".ruff_cache", "*.egg-info")
_LIMIT_S = 900


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """One place that is broken.

    Attributes:
        name: What is wrong afterwards.
        file: Seen from the repository.
        old: Text that stands there once.
        new: What replaces it.
        test: What must fail, as pytest takes it.
    """

    name: str
    file: str
    old: str
    new: str
    test: str


def main() -> None:
    """Tries every mutation and tells which survive."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", default="", help="those with this in their name")
    options = parser.parse_args()
    chosen = [mutation for mutation in read_mutations() if options.only in mutation.name]
    number = len(killed(chosen))
    print(f"{number} of {len(chosen)} killed")
    sys.exit(0 if number == len(chosen) else 1)


def read_mutations() -> list[Mutation]:
    """The list."""
    return [Mutation(**entry) for entry in yaml.safe_load(LIST.read_text(encoding="utf-8"))]


def killed(mutations: Sequence[Mutation], processes: int = 2) -> list[str]:
    """The names of those whose test fails; tells of each as it is tried.

    Args:
        mutations: To be tried.
        processes: How many at a time, each on a copy of its own.

    Raises:
        SystemExit: a test fails on the code as it is, or the text of a mutation does not stand in its file once.
    """
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(processes) as threads:
        folders = [Path(folder) / str(number) / REPOSITORY.name for number in range(processes)]
        copies: SimpleQueue[Path] = SimpleQueue()
        for copy in folders:
            shutil.copytree(REPOSITORY, copy, ignore=shutil.ignore_patterns(*_NOT_COPIED))
            copies.put(copy)
        if not _passes(folders[0], sorted({mutation.test for mutation in mutations})):
            sys.exit("the tests do not pass before anything is broken")
        results = list(threads.map(lambda mutation: _try(copies, mutation), mutations))
    return [mutation.name for mutation, is_killed in zip(mutations, results, strict=True) if is_killed]


def _try(copies: "SimpleQueue[Path]", mutation: Mutation) -> bool:
    copy = copies.get()
    try:
        is_killed = _is_killed(copy, mutation)
    finally:
        copies.put(copy)
    print(f"{'killed' if is_killed else 'SURVIVED'}: {mutation.name}", flush=True)
    return is_killed


def _is_killed(copy: Path, mutation: Mutation) -> bool:
    file = copy / mutation.file
    text = file.read_text(encoding="utf-8")
    if text.count(mutation.old) != 1:
        sys.exit(f"{mutation.name}: its text stands {text.count(mutation.old)} times in {mutation.file}")
    file.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
    try:
        return not _passes(copy, [mutation.test])
    finally:
        file.write_text(text, encoding="utf-8")


def _passes(copy: Path, tests: Sequence[str]) -> bool:
    data = os.environ.get("REDONE_TEST_DATA", str(REPOSITORY.parent / "shared" / "data"))
    environment = {**os.environ, "PYTHONPATH": str(copy), "REDONE_TEST_DATA": data, "PYTHONDONTWRITEBYTECODE": "1"}
    options = ["-q", "-x", "-W", "ignore", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command = [sys.executable, "-m", "pytest", *options, *tests]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=_LIMIT_S)
    if done.returncode not in (0, 1):
        sys.exit(f"pytest ended with {done.returncode}: {done.stdout[-1000:]}{done.stderr[-500:]}")
    return done.returncode == 0


if __name__ == "__main__":
    main()
