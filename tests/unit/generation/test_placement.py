"""Where an exported model is computed, on machines with and without CUDA."""

import pytest
import torch

from megatron_redone.config.evaluate import ComputeDtype
from megatron_redone.config.parallel import Device
from megatron_redone.errors import UserError
from megatron_redone.generation.placement import choose_device, choose_placement


@pytest.mark.parametrize(
    ("cuda", "device", "dtype", "chosen"),
    [
        (True, "auto", "auto", "cuda bfloat16"),
        (True, "auto", "fp32", "cuda float32"),
        (True, "cpu", "auto", "cpu float32"),
        (False, "auto", "auto", "cpu float32"),
        (False, "auto", "bf16", "cpu bfloat16"),
        (True, "cuda", "bf16", "cuda bfloat16"),
    ],
)
def test_auto_takes_what_the_machine_has(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, device: str, dtype: str, chosen: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    assert str(choose_placement(Device[device], ComputeDtype[dtype])) == chosen


def test_cuda_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="torch finds no CUDA device; set device=cpu or auto"):
        choose_device(Device.cuda)
