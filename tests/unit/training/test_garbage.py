"""Nothing is collected between the steps that are asked for, and steps leave nothing big to collect."""

import gc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from megatron_redone.models.torch_layers import TorchRMSNorm, TorchSwiGLU
from megatron_redone.training.garbage import ScheduledGarbage
from tests.helpers.one_process import finished


@pytest.fixture
def collections() -> Iterator[list[int]]:
    """The generations that were collected."""
    found: list[int] = []

    def note(phase: str, info: dict[str, Any]) -> None:
        if phase == "stop":
            found.append(info["generation"])

    gc.callbacks.append(note)
    yield found
    gc.callbacks.remove(note)


def make_cycles(count: int) -> None:
    for _ in range(count):
        cycle: list[Any] = []
        cycle.append(cycle)


def test_it_runs_after_the_steps_that_are_asked_for_alone(collections: list[int]) -> None:
    with ScheduledGarbage(3) as garbage:
        collections.clear()
        for step in range(1, 8):
            make_cycles(5000)  # more than what Python waits for
            garbage.after_step(finished(step))
            assert len(collections) == step // 3
        assert set(collections) == {2} and gc.get_freeze_count() > 1000
    make_cycles(5000)
    assert len(collections) > 2 and gc.get_freeze_count() == 0, "Python collects again"


def test_python_may_keep_to_its_own_schedule(collections: list[int]) -> None:
    with ScheduledGarbage(None) as garbage:
        collections.clear()
        make_cycles(5000)
        assert collections
        collections.clear()
        garbage.after_step(finished(100))
        assert 2 not in collections
    assert gc.isenabled()


def test_a_failed_run_leaves_the_collector_on() -> None:
    with pytest.raises(KeyError), ScheduledGarbage(10):
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()


def test_no_memory_of_tensors_waits_for_the_collector() -> None:
    """The norm and the activation of the torch backend: what their backward passes keep goes with the graph."""
    config = SimpleNamespace(use_cpu_initialization=True, params_dtype=torch.float32, sequence_parallel=False)
    norm, activation = TorchRMSNorm(config, 64), TorchSwiGLU(config)
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            activation(norm(torch.randn(8, 64, requires_grad=True))).sum().backward()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        assert not [one for one in gc.garbage if isinstance(one, torch.Tensor)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
