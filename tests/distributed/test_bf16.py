"""bf16 weights with fp32 main weights follow fp32 on real text."""

import numpy as np
import pytest

from megatron_redone.config.model import Precision
from tests.helpers.ranks import run_on_ranks
from tests.helpers.runs import Run, train_on_text
from tests.helpers.shared_data import FOLDER, TOKENIZER, needs_shared_data

TEXT = FOLDER / "general" / "wikitext2_valid.txt"
STEPS, ROWS, LENGTH = 50, 8, 64

pytestmark = [pytest.mark.distributed, needs_shared_data]


def text_ids() -> tuple[list[int], int]:
    """Qwen's ids of a real text, renumbered so that the model needs embeddings for these only."""
    from tokenizers import Tokenizer

    with open(TEXT, encoding="utf-8") as stream:
        ids = Tokenizer.from_file(str(TOKENIZER / "tokenizer.json")).encode(stream.read(400_000)).ids
    _, renumbered = np.unique(ids[: STEPS * ROWS * LENGTH + 1], return_inverse=True)
    return renumbered.tolist(), int(renumbered.max()) + 1


def test_bf16_follows_fp32() -> None:
    ids, vocab = text_ids()
    losses = {}
    for precision in (Precision.fp32, Precision.bf16):
        changes = {"hidden_size": 128, "intermediate_size": 256, "vocab_size": vocab, "initializer_range": 0.02}
        run = Run(model="qwen3", compute={"precision": precision}, changes=changes)
        [losses[precision]] = run_on_ranks(1, train_on_text, run, ids, LENGTH, ROWS, STEPS)
    fp32, bf16 = np.array(losses[Precision.fp32]), np.array(losses[Precision.bf16])
    assert fp32[-5:].mean() < fp32[0] - 1.5, "the model must learn something for the comparison to say anything"
    assert np.abs(bf16 / fp32 - 1).max() < 0.02
    assert np.abs(bf16 - fp32).max() > 0, "the two runs must not be the same run"
    print(f"largest difference {np.abs(bf16 / fp32 - 1).max():.4%}, loss {fp32[0]:.3f} to {fp32[-1]:.3f}")


def test_bf16_is_the_same_over_data_parallel_ranks() -> None:
    """Main weights and optimizer state are shared over ranks here; one process is the oracle."""
    ids, vocab = text_ids()
    run = Run(model="qwen3", compute={"precision": Precision.bf16}, changes={"vocab_size": vocab})
    [alone] = run_on_ranks(1, train_on_text, run, ids, 32, 4, 5)
    for shared in run_on_ranks(2, train_on_text, run, ids, 32, 4, 5):
        assert shared == pytest.approx(alone, rel=2e-3)
