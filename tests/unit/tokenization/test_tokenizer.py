"""Ids are those of the libraries that own the formats: tokenizers, sentencepiece, tiktoken."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from megatron_redone.config.tokenizer import TiktokenPattern, TokenizerConfig
from megatron_redone.errors import UserError
from megatron_redone.tokenization.probe import probe_texts
from megatron_redone.tokenization.tokenizer import CHECK_EVERY, FastPathDisagreement, Tokenizer
from tests.helpers import small_tokenizer
from tests.helpers.shared_data import FOLDER, TOKENIZER, needs_shared_data
from tools.benchmarks import real_text

SPECIAL = [*small_tokenizer.SPECIAL, "<s>", "</s>", "<unk>"]


def load(path: Path, **settings: object) -> Tokenizer:
    return Tokenizer(TokenizerConfig(path=str(path), **settings))  # type: ignore[arg-type]


def batch_ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    encoded = tokenizer.encode_batch(texts)
    return [row.tolist() for row in np.split(encoded.ids, np.cumsum(encoded.lengths)[:-1])]


def literal(file: Path) -> tokenizers.Tokenizer:
    reference = tokenizers.Tokenizer.from_file(str(file))
    reference.encode_special_tokens = True
    return reference


@pytest.mark.slow
@needs_shared_data
def test_every_document_of_real_text_equals_hugging_face() -> None:
    texts = list(real_text.documents(FOLDER))
    tokenizer, reference = load(TOKENIZER), literal(TOKENIZER / "tokenizer.json")
    assert tokenizer.slow_because is None
    expected = [e.ids for e in reference.encode_batch_fast(texts, add_special_tokens=False)]
    assert len(texts) > 200_000
    assert sum(a != b for a, b in zip(batch_ids(tokenizer, texts), expected, strict=True)) == 0


@pytest.mark.slow
@needs_shared_data
def test_tiktoken_file_equals_hugging_face() -> None:
    """The same vocabulary in another format: the split pattern and NFC are ours to get right."""
    texts = [*probe_texts(small_tokenizer.SPECIAL), *list(real_text.documents(FOLDER))[::50]]
    reference = literal(TOKENIZER / "tokenizer.json")
    for fast in (True, False):
        tokenizer = load(TOKENIZER / "qwen.tiktoken", fast=fast)
        assert (tokenizer.slow_because is None) == fast
        assert batch_ids(tokenizer, texts) == [reference.encode(text).ids for text in texts]
    assert tokenizer.eod_id == 151643


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize("normalisation", ["identity", "nmt_nfkc"])
def test_sentencepiece_models(tmp_path: Path, kind: str, normalisation: str) -> None:
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(small_tokenizer.TEXT * 5), model_prefix=str(tmp_path / "m"), vocab_size=420,
        model_type=kind, byte_fallback=True, minloglevel=2, normalization_rule_name=normalisation,
        hard_vocab_limit=False,
    )  # fmt: skip
    tokenizer = load(tmp_path / "m.model")
    reference = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "m.model"))
    texts = [*small_tokenizer.TEXT, *probe_texts(SPECIAL)]
    assert batch_ids(tokenizer, texts) == [reference.encode(text) for text in texts]
    if kind == "unigram":
        assert tokenizer.slow_because == "gigatoken does not know this kind of tokenizer"
    assert tokenizer.eod_id == reference.eos_id()


@pytest.mark.parametrize("kind", ["WordLevel", "Unigram"])
def test_kinds_without_a_fast_path_take_the_fallback(tmp_path: Path, kind: str) -> None:
    unknown = {"unk_token": "<unk>"} if kind == "WordLevel" else {}
    tokenizer = tokenizers.Tokenizer(getattr(models, kind)(**unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = {"WordLevel": trainers.WordLevelTrainer, "Unigram": trainers.UnigramTrainer}[kind]
    special = ["<unk>", "<|endoftext|>"]
    extra = {"unk_token": "<unk>"} if kind == "Unigram" else {}
    tokenizer.train_from_iterator(small_tokenizer.TEXT, trainer(special_tokens=special, show_progress=False, **extra))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    ours = load(tmp_path)
    reference = literal(tmp_path / "tokenizer.json")
    texts = [*small_tokenizer.TEXT, "a <|endoftext|> b"]
    assert ours.slow_because == "gigatoken does not know this kind of tokenizer"
    assert batch_ids(ours, texts) == [reference.encode(text).ids for text in texts]
    assert ours.eod_id == reference.token_to_id("<|endoftext|>")


def test_special_tokens_in_a_text_are_literal_unless_asked_for(tmp_path: Path) -> None:
    folder = small_tokenizer.train(tmp_path)
    text = "bye<|im_end|>\n<|im_start|>system <|endoftext|>"
    for fast in (True, False):
        plain = load(folder, fast=fast)
        special_ids = {plain.token_id(token) for token in small_tokenizer.SPECIAL}
        [ids] = batch_ids(plain, [text])
        assert not special_ids & set(ids) and plain.decode(ids) == text
        [parsed] = batch_ids(load(folder, fast=fast, parse_special_tokens=True), [text])
        assert special_ids <= set(parsed) and plain.decode(parsed) == text


def test_the_template_around_a_document_is_found(tmp_path: Path) -> None:
    folder = small_tokenizer.train(tmp_path, bos="<|im_start|>")
    tokenizer = load(folder)
    assert tokenizer.prefix == [tokenizer.token_id("<|im_start|>")] and tokenizer.suffix == []
    assert load(folder, add_special_tokens=False).prefix == []


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
