"""Breaks core code in one place at a time, and looks whether a test notices.

    python tools/mutations.py [--only PART_OF_A_NAME]

`tools/mutations.yaml` lists them: a file, the text that stands there once, the text that replaces it, and the test that
must fail. Each is applied to a copy of the repository. A mutation that is not killed, or whose text has gone, ends the
command with 1.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parents[1]
LIST = Path(__file__).with_suffix(".yaml")
_NOT_COPIED = (".git", ".venv", "__pycache__", "work", ".pytest_cache", ".ruff_cache", "*.egg-info")


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
    survivors = []
    for mutation in chosen:
        killed = is_killed(mutation)
        print(f"{'killed' if killed else 'SURVIVED'}: {mutation.name}", flush=True)
        survivors += [] if killed else [mutation.name]
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} killed")
    sys.exit(1 if survivors else 0)


def read_mutations() -> list[Mutation]:
    """The list."""
    return [Mutation(**entry) for entry in yaml.safe_load(LIST.read_text(encoding="utf-8"))]


def is_killed(mutation: Mutation) -> bool:
    """Whether its test passes on the code as it is, and fails on the broken one."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / REPOSITORY.name
        shutil.copytree(REPOSITORY, copy, ignore=shutil.ignore_patterns(*_NOT_COPIED))
        if not _passes(copy, mutation.test):
            print(f"{mutation.name}: {mutation.test} fails before anything is broken", file=sys.stderr)
            return False
        file = copy / mutation.file
        text = file.read_text(encoding="utf-8")
        if text.count(mutation.old) != 1:
            print(f"{mutation.name}: stands {text.count(mutation.old)} times in {mutation.file}", file=sys.stderr)
            return False
        file.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
        return not _passes(copy, mutation.test)


def _passes(copy: Path, test: str) -> bool:
    data = os.environ.get("REDONE_TEST_DATA", str(REPOSITORY.parent / "shared" / "data"))
    environment = {**os.environ, "PYTHONPATH": str(copy), "REDONE_TEST_DATA": data}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-W", "ignore", "-p", "no:cacheprovider", *test.split()]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        print(f"{test}: pytest ended with {done.returncode}: {done.stdout[-300:]}", file=sys.stderr)
    return done.returncode == 0


if __name__ == "__main__":
    main()
