"""Ids are those of the library that a rank file belongs to."""

import base64
import unicodedata
from pathlib import Path

import pytest
import tiktoken
from tiktoken_ext import openai_public
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from megatron_redone.config.tokenizer import TiktokenPattern
from megatron_redone.errors import UserError
from megatron_redone.tokenization.probe import probe_texts
from megatron_redone.tokenization.tiktoken_file import TiktokenReference, is_rank_file
from tests.helpers import small_tokenizer
from tests.helpers.shared_data import FOLDER, TOKENIZER, needs_shared_data
from tests.helpers.small_tokenizer import batch_ids, literal, load
from tools.benchmarks import real_text


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


@pytest.fixture
def ranks(tmp_path: Path) -> Path:
    """All bytes and a few words, as the libraries write them."""
    tokens = [bytes([byte]) for byte in range(256)] + [
        b"th",
        b"the",
        b" f",
        b" fe",
        b"rr",
        b"rry",
        "é".encode(),
        b"12",
        b"123",
    ]
    lines = [base64.b64encode(token) + f" {rank}\n".encode() for rank, token in enumerate(tokens)]
    file = tmp_path / "qwen.tiktoken"
    file.write_bytes(b"".join(lines))
    return file


def of_openai(ranks: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> tiktoken.Encoding:
    """OpenAI's own encoding of a name, over other ranks than those that it would download."""
    found = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, ranks.open("rb"))}
    for loader in ("load_tiktoken_bpe", "data_gym_to_mergeable_bpe_ranks"):
        monkeypatch.setattr(openai_public, loader, lambda *_, **__: found)
    keys = getattr(openai_public, name)()
    return tiktoken.Encoding(**{key: value for key, value in keys.items() if key != "explicit_n_vocab"})


@pytest.mark.parametrize(
    ("pattern", "name"), [("r50k", "r50k_base"), ("cl100k", "cl100k_base"), ("o200k", "o200k_base")]
)
def test_texts_are_split_as_openai_splits_them(
    ranks: Path, pattern: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = TiktokenReference(ranks, TiktokenPattern[pattern], False)
    theirs = of_openai(ranks, name, monkeypatch)
    texts = [*probe_texts([]), "the ferry's 12345 THE'S\n\n  the  "]
    assert ours.encode_batch(texts) == [theirs.encode(text, disallowed_special=()) for text in texts]


def test_qwens_texts_are_normalised_and_split_as_its_own_code_does(ranks: Path) -> None:
    ours = TiktokenReference(ranks, None, False)  # the name of the file says whose it is
    found = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, ranks.open("rb"))}
    theirs = tiktoken.Encoding("qwen", pat_str=PRETOKENIZE_REGEX, mergeable_ranks=found, special_tokens={})
    texts = [*probe_texts([]), "cafe\u0301", "12345"]
    assert ours.encode_batch(texts) == [theirs.encode(unicodedata.normalize("NFC", text)) for text in texts]
    assert ours.encode_batch(["e\u0301"]) == [[262]]


def test_special_tokens_are_parsed_only_where_asked(ranks: Path) -> None:
    text = "the<|im_end|>"
    for parse in (False, True):
        [ids] = TiktokenReference(ranks, TiktokenPattern.qwen2, parse).encode_batch([text])
        assert (151645 in ids) == parse and TiktokenReference(ranks, None, parse).decode(ids) == text


def test_which_files_are_rank_files(ranks: Path, tmp_path: Path) -> None:
    assert is_rank_file(ranks)
    for content in (b"", b"IQ==", b"IQ== x", b"I?== 0", b"\x0a\x05<unk>\x15", b"a b c"):
        (tmp_path / "other").write_bytes(content)
        assert not is_rank_file(tmp_path / "other"), content


def test_damage_and_unknown_patterns_are_named(ranks: Path, tmp_path: Path) -> None:
    unknown = ranks.rename(tmp_path / "mine.model")
    with pytest.raises(UserError, match=r"set tokenizer\.tiktoken_pattern=r50k\|cl100k"):
        TiktokenReference(unknown, None, False)
    unknown.write_bytes(unknown.read_bytes()[:-3] + b"\nIg== one\n")
    with pytest.raises(UserError, match=r"mine\.model: not a tiktoken rank file"):
        TiktokenReference(unknown, TiktokenPattern.cl100k, False)
