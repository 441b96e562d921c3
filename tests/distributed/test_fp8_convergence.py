"""The emulated FP8 recipes learn real text as bf16 does; benchmarks/results/fp8_emulation.json has a larger model."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.helpers.ranks import run_on_ranks

POSTS = Path(__file__).parents[2] / "examples" / "quickstart" / "data" / "posts"
STEPS, ROWS, LENGTH = 200, 4, 64


def final_losses() -> dict[str, float]:
    """On a rank: the loss of held-out rows after the last step, of bf16 and of every recipe, over bytes of posts."""
    from megatron_redone.architectures import parse_architecture
    from megatron_redone.config.parallel import Device, ParallelConfig
    from megatron_redone.distributed import start_context
    from tools.benchmarks.fp8_emulation import ARCHITECTURE, HELD_OUT_STEPS, cut, sides, train

    context = start_context(ParallelConfig(), Device.cpu)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128, "vocab_size": 256}
    shape = parse_architecture({**ARCHITECTURE, **sizes})
    text = "\n".join(_texts()).encode()
    rows = cut(torch.tensor(list(text)), ROWS, LENGTH)[: STEPS + HELD_OUT_STEPS]
    assert len(rows) == STEPS + HELD_OUT_STEPS
    return {name: train(name, compute, shape, context, rows)[0] for name, compute in sides().items()}


def _texts() -> Iterator[str]:
    """Posts with their comments, and general texts, in turn as they stand in the files."""
    for name in ("social", "general"):
        for line in (POSTS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            yield from (record["text"], *(comment["text"] for comment in record.get("comments", ())))


@pytest.mark.distributed
def test_recipes_learn_text_as_bf16_does() -> None:
    [losses] = run_on_ranks(1, final_losses)
    assert losses["bf16"] < 4.0  # 5.5 before the first step
    for recipe in ("delayed", "tensorwise", "blockwise"):
        assert losses[recipe] != losses["bf16"]
        assert losses[recipe] == pytest.approx(losses["bf16"], rel=1.5e-2)
