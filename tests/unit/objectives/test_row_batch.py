"""What is refused before rows reach a model."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from megatron_redone.errors import UserError
from megatron_redone.objectives.row_batch import check_isolation, place_rows
from tests.helpers.runs import packed_row, random_rows


def context(size: int = 1, rank: int = 0) -> Any:
    config = SimpleNamespace(context_parallel_size=size)
    return SimpleNamespace(context_rank=rank, device=torch.device("cpu"), config=config)


def test_transformer_engine_refuses_packed_rows_under_context_parallelism() -> None:
    check_isolation(context(1), kernel=True)
    check_isolation(context(2), kernel=False)
    with pytest.raises(UserError, match="need backend=torch"):
        place_rows(packed_row([3, 5], 100, 0), context(2), kernel=True)


def test_transformer_engine_gets_its_own_packed_format() -> None:
    rows = place_rows(packed_row([3, 5, 1], 100, 0), context(), kernel=True)
    assert rows.layout is not None and rows.layout.qkv_format == "thd"
    assert rows.layout.cu_seqlens_q.tolist() == [0, 3, 8, 9] and rows.layout.max_seqlen_kv == 5


def test_transformer_engine_refuses_positions_it_would_not_see() -> None:
    batch = random_rows(1, 8, 100, 0)
    batch["position_ids"][0, 4:] -= 4
    with pytest.raises(AssertionError, match="counts positions from 0"):
        place_rows(batch, context(), kernel=True)


def test_borders_that_do_not_cover_the_row_are_refused() -> None:
    batch = packed_row([3, 5], 100, 0)
    batch["cu_seqlens"][-1] = 7
    with pytest.raises(AssertionError, match="must cover the row"):
        place_rows(batch, context())


def test_each_rank_gets_its_two_chunks() -> None:
    batch = random_rows(2, 8, 100, 0)
    rows = place_rows(batch, context(size=2, rank=1))
    assert torch.equal(rows.tokens, batch["tokens"][:, 2:6]) and torch.equal(rows.labels, batch["labels"][:, 2:6])
    rows = place_rows(batch, context(size=2, rank=0))
    assert rows.position_ids[0].tolist() == [0, 1, 6, 7]
