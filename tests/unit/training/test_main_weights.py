"""Where the main weights of an optimizer are, and that each of their places is drawn for once."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from megatron.core.optimizer.cpu_offloading import HybridDeviceOptimizer

from megatron_redone.models.shards import Shard
from megatron_redone.training import main_weights
from megatron_redone.training.main_weights import MainWeight, optimizer_parts, with_random_bits


def test_main_weights_of_an_offloaded_optimizer_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """megatron-core's own optimizer, on a CPU: what is written there is what it steps from."""
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: None)
    weight = torch.nn.Parameter(torch.ones(6, dtype=torch.bfloat16))
    copy = weight.detach()[2:5]
    inner = HybridDeviceOptimizer(
        [{"params": [copy]}],
        cpu_optimizer_cls=torch.optim.AdamW,
        gpu_optimizer_cls=torch.optim.AdamW,
        param_update_in_fp32=True,
        overlap_cpu_optimizer_d2h_h2d=False,
    )
    part: Any = SimpleNamespace(
        model_float16_groups=[[weight]],
        shard_float16_groups=[[copy]],
        shard_fp32_from_float16_groups=[[None]],
        optimizer=inner,
    )
    [(found, main)] = main_weights._shared_pairs(part)
    main.add_(2**-10)
    [stepped] = inner.sub_optimizers[0].param_groups[0]["params"]
    assert found is weight and stepped.dtype is torch.float32 and stepped.tolist() == [1 + 2**-10] * 3


def test_parts_that_hold_nothing_are_left_out() -> None:
    full, stub = SimpleNamespace(is_stub_optimizer=False), SimpleNamespace(is_stub_optimizer=True)
    chained: Any = SimpleNamespace(chained_optimizers=[full, stub])
    assert optimizer_parts(chained) == [full]


def weight(first: int, last: int, name: str = "w") -> MainWeight:
    """A range of a weight [40, 1000] that lies whole here."""
    shape = (40, 1000)
    parameter = torch.nn.Parameter(torch.zeros(shape, dtype=torch.bfloat16))
    shard = Shard(name=name, parameter=parameter, full_shape=shape, dim=None, ranges=())
    copy = parameter.detach().view(-1)[first:last]
    return MainWeight(shard=shard, first=first, main=torch.zeros(last - first), copy=copy)


def drawn(weights: list[MainWeight], purpose: str) -> list[torch.Tensor]:
    """What each place gets, 0 for none."""
    found = [torch.zeros(len(one.main), dtype=torch.int32) for one in weights]
    numbers = {id(one): number for number, one in enumerate(weights)}

    def put(one: MainWeight, part: slice, bits: torch.Tensor) -> None:
        assert not found[numbers[id(one)]][part].any()
        found[numbers[id(one)]][part] = bits.int() + 40000

    assert with_random_bits(weights, purpose, put) == sum(len(one.main) for one in weights)
    return found


@pytest.mark.parametrize("threads", [1, 3])
def test_a_place_is_drawn_for_once_whoever_holds_it(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        [whole] = drawn([weight(0, 40_000)], "1/dither")
        parts = drawn([weight(0, 1), weight(1, 33_333), weight(33_333, 40_000)], "1/dither")
        [other] = drawn([weight(0, 40_000)], "2/dither")
    finally:
        torch.set_num_threads(before)
    assert whole.all() and torch.equal(torch.cat(parts), whole) and not torch.equal(other, whole)
    [of_another_name] = drawn([weight(0, 40_000, "v")], "1/dither")
    assert not torch.equal(of_another_name, whole)
