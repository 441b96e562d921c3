"""Which device a process takes, and what it says where there is none for it."""

import resource
from typing import Any

import pytest
import torch

from megatron_redone.config.parallel import Device
from megatron_redone.distributed import device as module
from megatron_redone.distributed.device import claim_device, peak_memory_gb
from megatron_redone.errors import UserError


@pytest.fixture
def claimed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was done for the process; nothing is really replaced in it."""
    done: list[Any] = []
    monkeypatch.setattr(module.cpu_platform, "install", lambda: done.append("cpu platform"))
    monkeypatch.setattr(module.cpu_platform, "installed", lambda: False)
    monkeypatch.setattr(module, "keep_freed_memory", lambda: done.append("memory"))
    monkeypatch.setattr(torch.cuda, "set_device", done.append)
    return done


def machine(monkeypatch: pytest.MonkeyPatch, devices: int, local_rank: int | None = None) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: devices > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if local_rank is not None:
        monkeypatch.setenv("LOCAL_RANK", str(local_rank))


@pytest.mark.parametrize(
    ("choice", "devices", "local_rank", "expected", "done"),
    [
        (Device.auto, 0, 3, "cpu", ["cpu platform", "memory"]),
        (Device.cpu, 8, 3, "cpu", ["cpu platform", "memory"]),
        (Device.auto, 8, 3, "cuda:3", [3]),
        (Device.cuda, 1, None, "cuda:0", [0]),
    ],
)
def test_a_process_takes_its_own(
    monkeypatch: pytest.MonkeyPatch, claimed: list[Any], choice: Device, devices: int, local_rank: int | None,
    expected: str, done: list[Any],
) -> None:  # fmt: skip
    machine(monkeypatch, devices, local_rank)
    assert str(claim_device(choice)) == expected and claimed == done


@pytest.mark.parametrize(
    ("choice", "devices", "local_rank", "message"),
    [
        (Device.cuda, 0, None, "torch finds no CUDA device; set device=cpu or auto"),
        (Device.auto, 2, 2, r"process 2 of this machine has no CUDA device of its own \(2 found\)"),
    ],
)
def test_a_device_that_is_not_there_is_told(
    monkeypatch: pytest.MonkeyPatch, claimed: list[Any], choice: Device, devices: int, local_rank: int, message: str
) -> None:
    machine(monkeypatch, devices, local_rank)
    with pytest.raises(UserError, match=f"device: .*{message}"):
        claim_device(choice)
    assert claimed == []


def test_memory_of_a_cpu_is_in_gigabytes() -> None:
    before = peak_memory_gb(torch.device("cpu"))
    resident = torch.ones(5_000_000)  # 20 MB, touched
    assert resident.nbytes / 1e9 * 0.5 < peak_memory_gb(torch.device("cpu")) < 1000
    assert peak_memory_gb(torch.device("cpu")) >= before
    assert before == pytest.approx(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 976_562.5, rel=0.5)


def test_a_process_that_uses_cuda_cannot_give_it_up(monkeypatch: pytest.MonkeyPatch, claimed: list[Any]) -> None:
    """An import has started it: `redone` hides the devices before, whoever else must do so too."""
    machine(monkeypatch, 1)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(UserError, match=r"device: cpu cannot be taken, .* set CUDA_VISIBLE_DEVICES= for it"):
        claim_device(Device.cpu)
    assert claimed == []
