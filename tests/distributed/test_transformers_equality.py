"""Logits of small random models equal transformers' own, and packed rows its gradients document by document."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from megatron_redone.batches.micro_batch import MicroBatch
from tests.helpers import hf_models
from tests.helpers.ranks import run_on_ranks
from tests.helpers.runs import Run, ShardGradient, gradients, logits, packed_row, random_rows

pytestmark = pytest.mark.distributed

# 1, 2 and 3 are shorter than a context-parallel chunk; 40 spans several.
DOCUMENTS = [5, 1, 13, 40, 2, 3]
LAYOUTS = {
    "one": (1, {}),
    "tp2": (2, {"tensor_model_parallel_size": 2}),
    "tp2_sp": (2, {"tensor_model_parallel_size": 2, "sequence_parallel": True}),
    "pp2": (2, {"pipeline_model_parallel_size": 2}),
    "cp2": (2, {"context_parallel_size": 2}),
    "pp4": (4, {"pipeline_model_parallel_size": 4}),
    "tp2_cp2": (4, {"tensor_model_parallel_size": 2, "context_parallel_size": 2}),
}


@pytest.mark.parametrize("model", hf_models.MODELS)
def test_logits_equal(model: str) -> None:
    batch = random_rows(2, 96, 500, seed=1)
    [[(ours, _)]] = run_on_ranks(1, logits, Run(model=model), [batch])
    with torch.no_grad():
        theirs = hf_models.hf_model(model)(batch.tokens).logits
    assert ours.shape == (2, 96, 512) and torch.all(ours[..., 500:] == torch.finfo(ours.dtype).min)
    torch.testing.assert_close(ours[..., :500], theirs, rtol=0, atol=1e-5)


def documents_one_by_one(model: str, rows: list[MicroBatch]) -> tuple[float, dict[str, torch.Tensor]]:
    """transformers' loss per token and its gradients, with every document in a forward pass of its own."""
    oracle = hf_models.hf_model(model)
    total = torch.zeros(())
    tokens = sum(row.loss_mask.sum() for row in rows)
    for row in rows:
        for a, b in pairwise(row.cu_seqlens.tolist()):
            scores = oracle(row.tokens[:, a:b]).logits[0]
            losses = torch.nn.functional.cross_entropy(scores, row.labels[0, a:b], reduction="none")
            total = total + (losses * row.loss_mask[0, a:b]).sum()
    (total / tokens).backward()
    return float(total / tokens), hf_models.full_gradients(oracle, hf_models.architecture(model))


@pytest.fixture(scope="module")
def oracle() -> tuple[list[MicroBatch], float, dict[str, torch.Tensor]]:
    rows = [packed_row(DOCUMENTS, 500, seed=2), packed_row(DOCUMENTS[::-1], 500, seed=3)]
    return rows, *documents_one_by_one("qwen2_tied", rows)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_packed_gradients_equal_documents_one_by_one(
    layout: str, oracle: tuple[list[MicroBatch], float, dict[str, torch.Tensor]]
) -> None:
    rows, expected_loss, expected = oracle
    world_size, parallel = LAYOUTS[layout]
    run = Run(model="qwen2_tied", parallel={**parallel, "use_distributed_optimizer": False})
    seen: set[str] = set()
    for loss, found in run_on_ranks(world_size, gradients, run, rows):
        assert loss == pytest.approx(expected_loss, rel=1e-5)
        for part in found:
            assert_close(part, expected[part.name])
            seen.add(part.name)
    assert seen == set(expected)


def assert_close(part: ShardGradient, full: torch.Tensor) -> None:
    scale = full.norm()
    difference = (part.gradient - part.part_of(full)).norm()
    assert scale > 0 and difference < 1e-5 * scale, f"{part.name}: off by {difference / scale:.1e}"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_changed_token_changes_no_logit_of_another_document(layout: str) -> None:
    world_size, parallel = LAYOUTS[layout]
    row = packed_row(DOCUMENTS, 500, seed=4)
    changed = replace(row, tokens=row.tokens.clone())
    position, begin, end = 25, 19, 59  # within the document of 40 tokens
    changed.tokens[0, position] = (changed.tokens[0, position] + 1) % 500
    run = Run(model="qwen2_tied", parallel=parallel)
    per_rank = [result for result in run_on_ranks(world_size, logits, run, [row, changed]) if result]
    later = 0
    for (before, positions), (after, _) in per_rank:
        differs = (before != after).any(-1)[0]
        outside = (positions < begin) | (positions >= end) | (positions < position)
        assert not differs[outside].any()
        later += int(differs[~outside].sum())
    shards = parallel.get("tensor_model_parallel_size", 1)
    assert later == shards * (end - position), "the change must reach the rest of its own document"


def test_without_borders_documents_see_each_other(
    oracle: tuple[list[MicroBatch], float, dict[str, torch.Tensor]],
) -> None:
    """The tests above could not fail if attention never crossed a border anyway."""
    rows, expected_loss, _ = oracle
    open_rows = [replace(row, cu_seqlens=None) for row in rows]
    run = replace(Run(model="qwen2_tied"), parallel={"use_distributed_optimizer": False})
    [(loss, _)] = run_on_ranks(1, gradients, run, open_rows)
    assert abs(loss - expected_loss) > 1e-3 * expected_loss
