"""What rows become on their way to a model, and what is refused there."""

import dataclasses
import itertools
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch

from megatron_redone.batches.micro_batch import MicroBatch, PairColumns
from megatron_redone.batches.row_placer import RowPlacer, Rows
from megatron_redone.config.model import Backend
from megatron_redone.distributed.context_parallel import PADDING
from megatron_redone.distributed.row_layout import RowLayout
from megatron_redone.objectives.language_modelling import _sum_loss
from tests.helpers.runs import packed_row, random_rows


def context(size: int = 1, rank: int = 0, tensor: int = 1) -> Any:
    config = SimpleNamespace(
        context_parallel_size=size, tensor_model_parallel_size=tensor, sequence_parallel=tensor > 1
    )
    return SimpleNamespace(context_rank=rank, device=torch.device("cpu"), config=config)


def place(micro_batch: MicroBatch, own: Any, backend: Backend = Backend.torch) -> Rows:
    return RowPlacer(own, backend).place(micro_batch)


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, cu_seqlens: list[int]) -> torch.Tensor:
    """Causal attention [S, D] of each segment by itself."""
    parts = [[side[a:b][None] for side in (query, key, value)] for a, b in itertools.pairwise(cu_seqlens)]
    return torch.cat([torch.nn.functional.scaled_dot_product_attention(*part, is_causal=True)[0] for part in parts])


@pytest.mark.parametrize(("size", "tensor"), [(2, 1), (4, 1), (2, 4)])
def test_segments_are_padded_and_shared_for_transformer_engines_kernel(size: int, tensor: int) -> None:
    """Ranks together hold every place once, and attention over the padded segments is what it was at those places."""
    lengths = [3, 16, 1, 9]
    batch = packed_row(lengths, 100, 0)
    ranks = [place(batch, context(size, rank, tensor), Backend.transformer_engine) for rank in range(size)]
    layout = ranks[0].layout
    assert layout is not None and layout.qkv_format == "thd"
    cu_seqlens = layout.cu_seqlens_q.tolist()
    assert cu_seqlens == layout.cu_seqlens_kv_padded.tolist() and layout.max_seqlen_q == max(numpy.diff(cu_seqlens))
    assert all(edge % (2 * size) == 0 for edge in cu_seqlens) and cu_seqlens[-1] % (2 * size * tensor) == 0
    assert {rows.batch.tokens.shape for rows in ranks} == {(1, cu_seqlens[-1] // size)}

    # Back together as the kernel's ranks exchange them: of each segment, chunk r and chunk 2C-1-r of rank r.
    whole = torch.full((cu_seqlens[-1],), PADDING)
    for rank, rows in enumerate(ranks):
        begin = 0
        for first, last in itertools.pairwise(cu_seqlens):
            chunk = (last - first) // (2 * size)
            for number in (rank, 2 * size - 1 - rank):
                at = first + number * chunk
                whole[at : at + chunk] = rows.slots[begin : begin + chunk]
                begin += chunk
    real = whole != PADDING
    assert whole[real].tolist() == list(range(sum(lengths)))
    query, key, value = torch.randn(3, sum(lengths), 8)
    expected = attend(query, key, value, batch.cu_seqlens.tolist())
    padded = [torch.where(real[:, None], side[whole.clamp(min=0)], 7.0) for side in (query, key, value)]
    torch.testing.assert_close(attend(*padded, cu_seqlens)[real], expected, rtol=0, atol=1e-6)

    for name in ("tokens", "labels", "loss_mask", "position_ids"):
        for rows in ranks:
            mine, held = getattr(rows.batch, name)[0], rows.slots != PADDING
            assert torch.equal(mine[held], getattr(batch, name)[0, rows.slots[held]]) and not mine[~held].any()


def test_transformer_engine_gets_its_own_packed_format() -> None:
    rows = place(packed_row([3, 5, 1], 100, 0), context(), Backend.transformer_engine)
    assert rows.layout is not None and rows.layout.qkv_format == "thd"
    assert rows.layout.cu_seqlens_q.tolist() == [0, 3, 8, 9] and rows.layout.max_seqlen_kv == 5


def test_transformer_engine_refuses_positions_it_would_not_see() -> None:
    batch = random_rows(1, 8, 100, 0)
    batch.position_ids[0, 4:] -= 4
    with pytest.raises(AssertionError, match="counts positions from 0"):
        place(batch, context(), Backend.transformer_engine)


def test_borders_that_do_not_cover_the_row_are_refused() -> None:
    batch = packed_row([3, 5], 100, 0)
    batch.cu_seqlens[-1] = 7
    with pytest.raises(AssertionError, match="must cover the row"):
        place(batch, context())


def test_each_rank_gets_its_two_chunks() -> None:
    batch = random_rows(2, 8, 100, 0)
    rows = place(batch, context(size=2, rank=1))
    assert torch.equal(rows.batch.tokens, batch.tokens[:, 2:6]) and torch.equal(rows.batch.labels, batch.labels[:, 2:6])
    rows = place(batch, context(size=2, rank=0))
    assert rows.batch.position_ids[0].tolist() == [0, 1, 6, 7]


def test_columns_of_pairs_are_cut_with_their_rows() -> None:
    """What is said of a label goes where the label goes; what is said of a pair goes to all ranks."""
    row = packed_row([3, 5, 4, 4], 100, 0)
    pairs = PairColumns(
        numbers=torch.arange(2),
        responses=torch.tensor([0, 1, 2, 3]).repeat_interleave(torch.tensor([3, 5, 4, 4]))[None],
        lengths=torch.tensor([3.0, 5.0, 4.0, 4.0]),
        prefixes=torch.zeros(4, 2, dtype=torch.int32),
        reference=torch.ones(2, 2),
        rewards=torch.ones(2, 2),
    )
    for rank in range(2):
        rows = place(dataclasses.replace(row, pairs=pairs), context(size=2, rank=rank))
        mine = rows.batch.pairs
        assert mine is not None and torch.equal(mine.responses, pairs.responses[:, rows.slots])
        assert torch.equal(mine.lengths, pairs.lengths)
        assert rows.trained.tolist() == rows.batch.loss_mask.flatten().nonzero().flatten().tolist()


@pytest.mark.parametrize("multiple", [1, 32, 128])
def test_a_ranks_tokens_are_what_a_recipe_of_fp8_takes(multiple: int) -> None:
    """Of a padded row, under context parallelism and, within each of its ranks, sequence parallelism."""
    own = context(size=2, tensor=2)
    rows = RowPlacer(own, Backend.transformer_engine, multiple).place(packed_row([3, 5, 40], 100, 0))
    assert rows.batch.tokens.shape[1] % (2 * max(multiple, 32)) == 0


def test_placing_and_summing_wait_for_no_device() -> None:
    """`meta` stands for a device: whatever asks it for a number raises."""
    own = SimpleNamespace(context_rank=0, device=torch.device("meta"), config=context(size=2).config)
    for backend in (Backend.torch, Backend.transformer_engine):
        rows = place(packed_row([3, 5, 8], 100, 0), own, backend)
        assert rows.batch.tokens.device.type == rows.trained.device.type == "meta"
        if backend is Backend.torch:
            assert isinstance(rows.layout, RowLayout)
            assert [mask.allowed.device.type for mask in rows.layout.chunk_masks(16, own.device)] == ["meta", "meta"]
        losses = torch.zeros(rows.trained.shape[0], device="meta")
        total, count, _ = _sum_loss(rows.batch.loss_mask, rows.trained, losses)
        assert total.device.type == count.device.type == "meta"
