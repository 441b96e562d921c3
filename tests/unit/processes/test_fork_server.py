"""What a process says that finds its parent gone while it is started, and what any other error says."""

import subprocess
import sys

import pytest

# The file's name decides: the first stands for multiprocess's own, the second for a task.
_RAISE = """
import megatron_redone.processes.fork_server
exec(compile("raise {error}", {file!r}, "exec"))
"""


@pytest.mark.parametrize(
    ("error", "file", "is_told"),
    [
        ("FileNotFoundError()", "/site-packages/multiprocess/synchronize.py", False),
        ("EOFError()", "/lib/multiprocessing/reduction.py", False),
        ("FileNotFoundError()", "/work/task.py", True),
        ("ValueError()", "/site-packages/multiprocess/synchronize.py", True),
    ],
)
def test_only_a_parent_that_is_gone_is_passed_over(error: str, file: str, is_told: bool) -> None:
    command = [sys.executable, "-c", _RAISE.format(error=error, file=file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and (error.rstrip("()") in done.stderr) == is_told
