"""Parts of the engine that exist only over several ranks."""

import os

import pytest
import torch

from megatron_redone.config.model import Backend, ModelConfig, Precision
from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.distributed import start_context
from megatron_redone.distributed.collectives import broadcast_from_last, broadcast_from_main
from megatron_redone.distributed.context_parallel import gather_sequence, slots_of_row, split_sequence
from megatron_redone.distributed.head_exchange import heads_to_tokens, tokens_to_heads
from megatron_redone.models.build import build_model
from megatron_redone.models.shards import iterate_shards
from tests.helpers import hf_models
from tests.helpers.ranks import run_on_ranks

pytestmark = pytest.mark.distributed


def gather_and_back(whole: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    context = start_context(ParallelConfig(context_parallel_size=4), Device.cpu)
    local = split_sequence(whole, context.context_rank, 4).t()[..., None, None].clone().requires_grad_()
    gathered = gather_sequence(local, context.groups.cp)
    # Every rank weighs the row differently, as its queries would.
    (gathered[..., 0, 0].t() * weight * (context.rank + 1)).sum().backward()
    assert local.grad is not None
    return gathered[..., 0, 0].t().detach(), local.grad[..., 0, 0].t(), split_sequence(weight, context.rank, 4)


def test_gathering_a_row_restores_its_order_and_sums_gradients() -> None:
    whole = torch.arange(32.0).view(2, 16)
    weight = torch.rand(2, 16)
    for gathered, gradient, own_weight in run_on_ranks(4, gather_and_back, whole, weight):
        assert torch.equal(gathered, whole)
        torch.testing.assert_close(gradient, own_weight * (1 + 2 + 3 + 4))


def heads_and_back(tensor: torch.Tensor, weight: torch.Tensor) -> list[torch.Tensor]:
    """This rank's share of the heads, what comes back of it, and the gradient of a sum weighed by `weight`."""
    context = start_context(ParallelConfig(context_parallel_size=4), Device.cpu)
    tokens = slots_of_row(len(tensor), context.context_rank, 4)
    local = tensor[tokens].requires_grad_()
    heads = tokens_to_heads(local, context.groups.cp)
    back = heads_to_tokens(heads, context.groups.cp)
    (back * weight[tokens] + 0 * local).sum().backward()
    assert local.grad is not None
    return [heads.detach(), back.detach(), local.grad]


def test_heads_are_traded_for_tokens_and_back() -> None:
    tensor, weight = torch.rand(16, 2, 8, 3), torch.rand(16, 2, 8, 3)
    for rank, (heads, back, gradient) in enumerate(run_on_ranks(4, heads_and_back, tensor, weight)):
        tokens = slots_of_row(16, rank, 4)
        assert torch.equal(heads, tensor[:, :, 2 * rank : 2 * rank + 2])
        assert torch.equal(back, tensor[tokens]) and torch.equal(gradient, weight[tokens])


def drawn(parallel: dict[str, int]) -> list[tuple[str, int | None, tuple[tuple[int, int], ...], torch.Tensor]]:
    """What random initialization gives this rank."""
    context = start_context(ParallelConfig(**parallel), Device.cpu)
    shape = hf_models.architecture("qwen3", vocab_size=300, intermediate_size=600)
    config = ModelConfig(hf_config="none", backend=Backend.torch, precision=Precision.fp32)
    model = build_model(shape, config, context, seed=5)
    return [
        (shard.name, shard.dim, shard.ranges, shard.parameter.detach())
        for shard in iterate_shards(model.chunks, shape, context)
    ]


@pytest.mark.parametrize(
    "parallel",
    [
        {"tensor_model_parallel_size": 2},
        {"pipeline_model_parallel_size": 2, "virtual_pipeline_model_parallel_size": 2},
    ],
)
def test_random_weights_are_the_same_on_any_layout(parallel: dict[str, int]) -> None:
    [alone] = run_on_ranks(1, drawn, {})
    whole = {name: value for name, _, _, value in alone}
    assert len({float(value.flatten()[0]) for value in whole.values() if value.dim() == 2}) > 10
    for rank in run_on_ranks(2, drawn, parallel):
        for name, dim, ranges, value in rank:
            part = whole[name]
            if dim is not None:
                part = torch.cat([part.narrow(dim, a, b - a) for a, b in ranges], dim)
            assert torch.equal(value[: len(part)], part) and not value[len(part) :].any()


def start_alone() -> tuple[int, int, str]:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        del os.environ[name]
    context = start_context(ParallelConfig(), Device.auto)
    return context.rank, context.world_size, context.device.type


def test_a_process_without_a_launcher_is_a_run_of_one() -> None:
    assert run_on_ranks(1, start_alone)[0][:2] == (0, 1)


def broadcasts() -> tuple[str, str]:
    context = start_context(ParallelConfig(pipeline_model_parallel_size=2), Device.cpu)
    name = f"rank {context.rank}"
    return broadcast_from_main(name), broadcast_from_last(name, context.groups.pp)


def test_broadcasts() -> None:
    answers = run_on_ranks(4, broadcasts)
    assert [main for main, _ in answers] == ["rank 0"] * 4
    assert [last for _, last in answers] == ["rank 2", "rank 3", "rank 2", "rank 3"]
