"""What `redone doctor` makes of what it found."""

import pytest

from megatron_redone.doctor import diagnosis
from megatron_redone.doctor.machine import Machine
from megatron_redone.doctor.self_test import SelfTest, Trial, TrialResult
from megatron_redone.doctor.software import Part, State

MACHINE = Machine(system="x", processor="x", cores=8, usable_cores=8, memory_gb=32, free_memory_gb=30, disk="/",
                  free_disk_gb=100, shared_memory_gb=8, driver="580.1")  # fmt: skip
TORCH = {"cuda_build": "13.0", "cuda": True, "gloo": True, "nccl": "2.27.3", "gpus": []}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, None),
        ({"gloo": False}, "without gloo"),
        ({"cuda_build": None, "cuda": False}, "torch was built without CUDA"),
        ({"cuda": False}, "torch cannot use it (driver 580.1, torch for CUDA 13.0)"),
        ({"nccl": None}, "without NCCL"),
    ],
)
def test_what_torch_lacks_on_a_machine_with_a_gpu(changes: dict[str, object], problem: str | None) -> None:
    found = list(diagnosis._torch_problems(MACHINE, [], {**TORCH, **changes}))
    assert found == [] if problem is None else len(found) == 1 and problem in found[0]


def test_losses_that_differ_are_a_problem() -> None:
    results = [TrialResult(trial=Trial(processes=1, device="cpu"), losses=[3.0])] * 2
    apart = SelfTest(results=results, seconds=1, difference=0.1 / 3, tolerance=1e-5)
    expected = "losses on one process and on two differ by 0.033, more than 1e-05"
    assert list(diagnosis._test_problems(apart)) == [expected]


def test_a_broken_package_is_a_problem() -> None:
    part = Part(name="x", version="1", state=State.broken, required=True, brings="", remedy="do this")
    assert list(diagnosis._software_problems([part])) == ["x is broken (do this)"]
