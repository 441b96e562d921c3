"""Bits per byte against transformers, one document at a time."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma2Config, Gemma2ForCausalLM

from megatron_redone.config.evaluate import ComputeDtype
from megatron_redone.config.parallel import Device
from megatron_redone.evaluation.bits_per_byte import evaluate_texts, windows
from megatron_redone.evaluation.examples import TextExample
from megatron_redone.generation.hf_model import LoadedModel, load_model
from megatron_redone.generation.log_probabilities import BatchLimits, Row, batches_by_length, log_probabilities
from megatron_redone.generation.placement import choose_placement
from tests.helpers import chat_models, small_tokenizer

TEXTS = [*small_tokenizer.TEXT, "短", "😀 ok", small_tokenizer.TEXT[1] * 4, small_tokenizer.TEXT[3] * 3]
EXAMPLES = [TextExample(number, text) for number, text in enumerate(TEXTS, 1)]
LIMITS = BatchLimits(rows=3, tokens=300)


@pytest.mark.parametrize("bos", [None, "<|im_start|>"])
def test_bits_are_those_of_one_document_at_a_time(bos: str | None, tmp_path: Path) -> None:
    folder = chat_models.write(tmp_path / "model", bos=bos)
    model = load_model(str(folder), choose_placement(Device.cpu, ComputeDtype.fp32))
    found = evaluate_texts(model, EXAMPLES, window=200, stride=150, limits=LIMITS)
    theirs, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for text, result in zip(TEXTS, found, strict=True):
        start = tokenizer.convert_tokens_to_ids(bos or "<|endoftext|>")
        ids = [start, *tokenizer(text, add_special_tokens=False)["input_ids"]]
        assert len(ids) <= 200
        expected = float(chat_models.token_losses(theirs, ids).sum()) / math.log(2)
        assert result["bits"] == pytest.approx(expected, rel=1e-5)
        assert (result["tokens"], result["bytes"]) == (len(ids) - 1, len(text.encode()))


def test_a_long_text_is_read_in_windows_that_count_no_token_twice(chat_model: LoadedModel) -> None:
    example = EXAMPLES[-2]
    ids = [chat_model.document_start, *chat_model.texts.encode(example.text)]
    expected, scored = 0.0, 1
    while scored < len(ids):  # written as a loop over what has been scored, not over windows
        end = min(len(ids), 32 if scored == 1 else scored + 24)
        losses = chat_models.token_losses(chat_model.model, ids[max(0, end - 32) : end])
        expected += float(losses[-(end - scored) :].sum()) / math.log(2)
        scored = end
    [found] = evaluate_texts(chat_model, [example], window=32, stride=24, limits=LIMITS)
    assert found["bits"] == pytest.approx(expected, rel=1e-5)
    [whole] = evaluate_texts(chat_model, [example], window=500, stride=1, limits=LIMITS)
    assert len(ids) > 64 and found["bits"] != pytest.approx(whole["bits"], rel=1e-4)


@pytest.mark.parametrize(("length", "window", "stride"), [(2, 8, 3), (8, 8, 3), (9, 8, 3), (50, 8, 7), (31, 8, 1)])
def test_windows_score_every_token_but_the_first_once(length: int, window: int, stride: int) -> None:
    seen: Counter[int] = Counter()
    for row in windows(list(range(length)), window, stride):
        assert len(row.ids) <= window and row.first >= 1
        assert row.ids == list(range(row.ids[0], row.ids[0] + len(row.ids)))
        seen.update(row.ids[row.first :])
    assert seen == Counter(range(1, length))


def test_batches_change_nothing(chat_model: LoadedModel) -> None:
    random = np.random.default_rng(0)
    rows = [Row(random.integers(0, 400, length).tolist(), int(random.integers(1, length)))
            for length in random.integers(2, 60, 20).tolist()]  # fmt: skip
    alone = [float(-chat_models.token_losses(chat_model.model, row.ids)[row.first - 1 :].sum()) for row in rows]
    told: list[tuple[int, int]] = []
    for limits in (BatchLimits(1, 1), BatchLimits(7, 10_000), BatchLimits(100, 128)):
        told.clear()
        found = log_probabilities(chat_model, rows, limits, lambda done, total: told.append((done, total)))
        np.testing.assert_allclose(found, alone, rtol=1e-5)
        assert told[-1] == (20, 20)


def test_batches_keep_to_their_limits() -> None:
    lengths = np.random.default_rng(2).integers(1, 90, 50).tolist()
    batches = list(batches_by_length(lengths, BatchLimits(rows=6, tokens=200)))
    assert sorted(index for batch in batches for index in batch) == list(range(50))
    assert all(len(b) <= 6 and (len(b) == 1 or len(b) * max(lengths[i] for i in b) <= 200) for b in batches)
    assert len(batches) < 20


def test_a_model_that_caps_its_logits_is_computed_whole(tmp_path: Path) -> None:
    """Gemma 2 puts its logits through a tanh, so that its head alone does not give them."""
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=500, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, final_logit_softcapping=0.5,
    )  # fmt: skip
    folder = chat_models.write(tmp_path)
    Gemma2ForCausalLM(config).save_pretrained(folder)
    model = load_model(str(folder), choose_placement(Device.cpu, ComputeDtype.fp32))
    assert isinstance(model.head, torch.nn.Identity)
    ids = [5, 300, 17, 42, 7, 499]
    expected = -chat_models.token_losses(model.model, ids).sum()
    assert log_probabilities(model, [Row(ids, 1)], LIMITS)[0] == pytest.approx(float(expected), rel=1e-5)
