"""glibc is told once, by the numbers of its own header; another C library is left alone."""

import ctypes
from types import SimpleNamespace
from typing import Any

import pytest

from megatron_redone.distributed.cpu_memory import keep_freed_memory


def test_thresholds_are_those_of_malloc_h(monkeypatch: pytest.MonkeyPatch) -> None:
    """M_TRIM_THRESHOLD is -1 and M_MMAP_THRESHOLD -3, which glibc caps at 32 MiB times the size of a long by 4."""
    told: dict[int, int] = {}
    library: Any = SimpleNamespace(mallopt=told.__setitem__)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    keep_freed_memory()
    assert told.keys() == {-1, -3}
    most = 4 * 1024 * 1024 * ctypes.sizeof(ctypes.c_long) * 2
    assert 2**25 <= told[-3] <= most and told[-1] > told[-3]
    assert all(value == ctypes.c_int(value).value for value in told.values()), "mallopt takes an int"


@pytest.mark.parametrize("failure", [OSError("no library"), AttributeError("no mallopt")])
def test_another_library_is_left_alone(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    def fail(_: None) -> Any:
        raise failure

    monkeypatch.setattr(ctypes, "CDLL", fail)
    keep_freed_memory()
