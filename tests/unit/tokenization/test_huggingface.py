"""What a tokenizer.json says is done as the `tokenizers` library does it."""

from pathlib import Path

import pytest
import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from megatron_redone.errors import UserError
from megatron_redone.tokenization.huggingface import eos_token
from tests.helpers import small_tokenizer
from tests.helpers.small_tokenizer import batch_ids, literal, load


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


def test_a_tokenizer_config_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = small_tokenizer.train(tmp_path)
    (folder / "tokenizer_config.json").write_text("")
    with pytest.raises(UserError, match=r"tokenizer_config\.json"):
        eos_token(folder)
