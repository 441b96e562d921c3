"""Ids are those of the libraries that own the formats: tokenizers, sentencepiece, tiktoken."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from megatron_redone.config.tokenizer import TiktokenPattern, TokenizerConfig
from megatron_redone.errors import UserError
from megatron_redone.tokenization.tokenizer import CHECK_EVERY, FastPathDisagreement, Tokenizer
from tests.helpers import small_tokenizer
from tests.helpers.shared_data import FOLDER, TOKENIZER, needs_shared_data
from tests.helpers.small_tokenizer import batch_ids, literal, load
from tools.benchmarks import real_text


@pytest.mark.slow
@needs_shared_data
def test_every_document_of_real_text_equals_hugging_face() -> None:
    texts = list(real_text.documents(FOLDER))
    tokenizer, reference = load(TOKENIZER), literal(TOKENIZER / "tokenizer.json")
    assert tokenizer.slow_because is None
    expected = [e.ids for e in reference.encode_batch_fast(texts, add_special_tokens=False)]
    assert len(texts) > 200_000
    assert sum(a != b for a, b in zip(batch_ids(tokenizer, texts), expected, strict=True)) == 0


def test_a_fast_path_that_differs_is_left_out_or_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from megatron_redone.tokenization import fast, tokenizer

    folder = small_tokenizer.train(tmp_path)
    honest = fast.FastEncoder.encode_batch

    def wrong(self: fast.FastEncoder, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        ids, lengths = honest(self, texts)
        return np.where(ids == ids[0], ids + 1, ids), lengths

    late = load(folder)
    monkeypatch.setattr(tokenizer.FastEncoder, "encode_batch", wrong)
    assert "its ids differ on" in (load(folder).slow_because or "")
    texts = [f"text {i}" for i in range(2 * CHECK_EVERY)]
    with pytest.raises(FastPathDisagreement, match="text"):
        late.encode_batch(texts)
    reference = literal(folder / "tokenizer.json")
    assert late.encode_batch(texts[:1], fast=False).ids.tolist() == reference.encode(texts[0]).ids


def test_the_reason_for_the_slow_path_is_one_line(tmp_path: Path) -> None:
    folder = small_tokenizer.train(tmp_path)
    content = json.loads((folder / "tokenizer.json").read_text())
    del content["model"]["vocab"]["\u0104"]  # the byte 4, as SmolLM2 lacks it: gigatoken's reason has several lines
    (folder / "tokenizer.json").write_text(json.dumps(content))
    reason = load(folder).slow_because
    assert reason is not None and "byte" in reason and "\n" not in reason


def test_fingerprints_tell_tokenizers_apart_and_ignore_layout(tmp_path: Path) -> None:
    folder = small_tokenizer.train(tmp_path / "a")
    content = json.loads((folder / "tokenizer.json").read_text())
    same, other = tmp_path / "same", tmp_path / "other"
    for path in (same, other):
        path.mkdir()
    (same / "tokenizer.json").write_text(json.dumps(content, indent=4))
    content["normalizer"] = {"type": "Lowercase"}
    (other / "tokenizer.json").write_text(json.dumps(content))
    prints = [load(path).fingerprint() for path in (folder, same, other)]
    assert prints[0] == prints[1] != prints[2]


def test_mistakes_are_named(tmp_path: Path) -> None:
    folder = small_tokenizer.train(tmp_path / "a")
    (tmp_path / "ranks.tiktoken").write_text("IQ== 0\nIg== 1\n")
    (tmp_path / "bad.json").write_text("{}")
    (tmp_path / "bad.model").write_text("nothing")
    cases = {
        "no such tokenizer": {"path": "nowhere"},
        "no tokenizer.json there": {"path": str(tmp_path)},
        "not a tokenizer.json": {"path": str(tmp_path / "bad.json")},
        "not a SentencePiece model": {"path": str(tmp_path / "bad.model")},
        "set tokenizer.tiktoken_pattern": {"path": str(tmp_path / "ranks.tiktoken")},
        "is not in the vocabulary": {"path": str(folder), "eod_token": "<nope>"},
    }
    for message, settings in cases.items():
        with pytest.raises(UserError, match=message):
            Tokenizer(TokenizerConfig(**settings))
    named = TokenizerConfig(path=str(tmp_path / "ranks.tiktoken"), tiktoken_pattern=TiktokenPattern.cl100k)
    assert Tokenizer(named).encode('!"') == [0, 1]
