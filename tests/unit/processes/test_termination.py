"""SIGTERM ends work as an error does: what stands in `finally` is done, and no process is left."""

import signal
import subprocess
import sys
import time

import psutil
import pytest

from megatron_redone.processes.termination import clean_end_on_sigterm

_WORK = """
import time
from megatron_redone.processes.ordered_pool import OrderedPool

def build():
    return time.sleep

if __name__ == "__main__":
    try:
        with OrderedPool(2, build) as pool:
            print("at work", flush=True)
            list(pool.map([60] * 4))
    finally:
        print("cleaned up", flush=True)
"""


def test_the_handler_is_there_while_entered_only() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with clean_end_on_sigterm(), pytest.raises(SystemExit) as stop:
        signal.raise_signal(signal.SIGTERM)
    assert stop.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before


def test_somebody_elses_handler_stays() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with clean_end_on_sigterm():
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_pool_leaves_no_process_behind(tmp_path) -> None:
    (tmp_path / "work.py").write_text(_WORK)
    process = subprocess.Popen([sys.executable, str(tmp_path / "work.py")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "at work\n"
    time.sleep(1)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.terminate()
    assert process.communicate(timeout=30)[0] == "cleaned up\n" and process.returncode == 143
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
