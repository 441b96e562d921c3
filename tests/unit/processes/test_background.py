"""What a thread beside this one does or raises is known; a process ends although one hangs."""

import subprocess
import sys

import pytest

from megatron_redone.processes.background import in_background


def test_the_result_and_the_error_come_back() -> None:
    assert in_background(lambda: 6 * 7, "product").result(10) == 42
    with pytest.raises(ZeroDivisionError):
        in_background(lambda: 1 // 0, "fraction").result(10)


def test_a_process_ends_although_a_thread_hangs() -> None:
    code = """
import threading
from megatron_redone.processes.background import in_background
in_background(threading.Event().wait, "hangs")
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
