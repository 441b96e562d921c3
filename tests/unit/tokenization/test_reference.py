"""What every tokenizer format has to offer, asked of each of them."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece

from megatron_redone.config.tokenizer import TiktokenPattern
from megatron_redone.tokenization.fast import FastEncoder
from megatron_redone.tokenization.huggingface import HuggingFaceReference
from megatron_redone.tokenization.probe import probe_texts
from megatron_redone.tokenization.reference import Reference
from megatron_redone.tokenization.sentencepiece_model import SentencePieceReference
from megatron_redone.tokenization.tiktoken_file import TiktokenReference
from tests.helpers import small_tokenizer


def of_hugging_face(folder: Path) -> Reference:
    return HuggingFaceReference(small_tokenizer.train(folder) / "tokenizer.json", False)


def of_sentencepiece(folder: Path) -> Reference:
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(small_tokenizer.TEXT * 5), model_prefix=str(folder / "m"), vocab_size=420,
        model_type="bpe", byte_fallback=True, minloglevel=2, normalization_rule_name="identity",
        hard_vocab_limit=False, remove_extra_whitespaces=False,
    )  # fmt: skip
    return SentencePieceReference(folder / "m.model", False)


def of_tiktoken(folder: Path) -> Reference:
    tokens = [*(bytes([byte]) for byte in range(256)), b"th", b"the", b" f"]
    lines = [base64.b64encode(token) + f" {rank}\n".encode() for rank, token in enumerate(tokens)]
    (folder / "ranks").write_bytes(b"".join(lines))
    return TiktokenReference(folder / "ranks", TiktokenPattern.cl100k, False)


@pytest.mark.parametrize("make", [of_hugging_face, of_sentencepiece, of_tiktoken])
def test_a_format_keeps_what_is_promised_of_it(make: Any, tmp_path: Path) -> None:
    reference: Reference = make(tmp_path)
    assert reference.special_tokens and reference.prefix == reference.suffix == []
    for token, number in reference.special_tokens.items():
        assert reference.token_id(token) == number < reference.vocab_size
    assert reference.token_id("no token of any vocabulary") is None
    texts = [*small_tokenizer.TEXT, "a " + "".join(reference.special_tokens) + "b"]
    encoded = reference.encode_batch(texts)
    assert [reference.decode(ids) for ids in encoded] == texts
    special = set(reference.special_tokens.values())
    assert all(not special & set(ids) and max(ids) < reference.vocab_size for ids in encoded)
    assert encoded == [reference.encode_batch([text])[0] for text in texts] and reference.encode_batch([]) == []


@pytest.mark.parametrize("make", [of_hugging_face, of_sentencepiece, of_tiktoken])
def test_its_fast_path_gives_the_same_ids(make: Any, tmp_path: Path) -> None:
    reference: Reference = make(tmp_path)
    load = reference.fast_loader()
    assert load is not None
    texts = probe_texts(list(reference.special_tokens))
    ids, lengths = FastEncoder(load).encode_batch(texts)
    assert [row.tolist() for row in np.split(ids, np.cumsum(lengths)[:-1])] == reference.encode_batch(texts)
