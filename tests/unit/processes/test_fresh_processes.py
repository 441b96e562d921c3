"""Units of work in processes of their own."""

import os
import signal
import time
from pathlib import Path

import pytest

from megatron_redone.errors import UserError
from megatron_redone.processes.fresh_processes import run_each


def write(unit: tuple[Path, str], slot: int) -> None:
    folder, name = unit
    if name == "mistaken":
        raise UserError("mend this")
    if name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "slow":
        time.sleep(60)
    if name == "broken":
        raise RuntimeError("two\nlines")
    (folder / name).write_text(f"{os.getpid()} {slot}")


def test_each_unit_has_a_process_and_at_most_so_many_slots(tmp_path: Path) -> None:
    run_each(write, [(tmp_path, str(number)) for number in range(5)], 2, [])
    found = [(tmp_path / str(number)).read_text().split() for number in range(5)]
    assert len({process for process, _ in found}) == 5 and {slot for _, slot in found} <= {"0", "1"}


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("mistaken", "^mend this$"),
        ("killed", "a worker process was killed"),
        ("broken", "^a process failed: RuntimeError: two lines$"),
    ],
)
def test_what_one_meets_ends_all(tmp_path: Path, name: str, line: str) -> None:
    started = time.monotonic()
    with pytest.raises(UserError, match=line):
        run_each(write, [(tmp_path, "slow"), (tmp_path, name)], 2, [])
    assert time.monotonic() - started < 50
