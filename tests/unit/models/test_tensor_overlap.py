"""The overlap of tensor-parallel communication is refused in a line where it cannot be."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from megatron_redone.errors import UserError
from megatron_redone.models.tensor_overlap import _check_multicast, refuse_tensor_overlap, start_tensor_overlap


@pytest.mark.parametrize(("multicast", "skips", "fits"), [(True, None, True), (False, "1", True), (False, "0", False)])
def test_a_device_without_multicast_is_told(
    monkeypatch: pytest.MonkeyPatch, multicast: bool, skips: str | None, fits: bool
) -> None:
    kernels = SimpleNamespace(device_supports_multicast=lambda: multicast)
    monkeypatch.setitem(sys.modules, "transformer_engine_torch", kernels)
    monkeypatch.delenv("UB_SKIPMC", raising=False)
    if skips is not None:
        monkeypatch.setenv("UB_SKIPMC", skips)
    if fits:
        _check_multicast()
        return
    with pytest.raises(UserError, match=r"tp_comm_overlap: this device, .*set UB_SKIPMC=1"):
        _check_multicast()


def test_rows_of_different_lengths_are_refused_and_nothing_is_made_where_it_is_off() -> None:
    on: Any = SimpleNamespace(tp_comm_overlap=True)
    with pytest.raises(UserError, match="micro-batches of one length"):
        refuse_tensor_overlap(on)
    off: Any = SimpleNamespace(tp_comm_overlap=False)
    refuse_tensor_overlap(off)
    start_tensor_overlap(off, 64)
