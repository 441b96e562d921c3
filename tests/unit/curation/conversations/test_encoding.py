"""Records to ids and masks: the ids are those of the rendered text, the mask is on what the assistant says."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from megatron_redone.config.prepare_sft import ConversationFormat, ConversationSource, PrepareSFTConfig
from megatron_redone.config.tokenizer import TokenizerConfig
from megatron_redone.curation.chats.chat_batches import EncodedBatch, RawChats
from megatron_redone.curation.conversations.encoding import ConversationEncoder
from megatron_redone.formats.raw_records import RawBatch, RawRecord
from megatron_redone.tokenization.chat_template_file import ChatTemplateFile
from tests.helpers import small_tokenizer
from tests.helpers.chat_models import CHATML

GOOD = [("Why?", "Because."), ("周末去哪", "湖边")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_tokenizer.train(tmp_path_factory.mktemp("tokenizer"))


def encode(folder: Path, records: list[Any], template: str = CHATML, **more: Any) -> EncodedBatch:
    config = PrepareSFTConfig(
        sources=[ConversationSource(input=["x"], name="x")],
        tokenizer=TokenizerConfig(path=str(folder)),
        output_dir="x",
        **more,
    )
    encoder = ConversationEncoder(config, ChatTemplateFile(template, template, "x"), datetime(2025, 7, 10))
    raw = [RawRecord(line, json.dumps(record).encode()) for line, record in enumerate(records, 7)]
    return encoder.encode(RawChats(0, ConversationFormat.prompt_completion, RawBatch("x", raw)))


def record(prompt: str, completion: str) -> dict[str, str]:
    return {"prompt": prompt, "completion": completion}


def test_ids_are_those_of_the_text_and_the_mask_is_on_the_answer(folder: Path) -> None:
    theirs = Tokenizer.from_file(str(folder / "tokenizer.json"))
    batch = encode(folder, [record(*pair) for pair in GOOD])
    for (prompt, completion), item in zip(GOOD, batch.items, strict=True):
        start = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
        assert item.tokens.tolist() == theirs.encode(f"{start}{completion}<|im_end|>\n").ids
        trained = item.tokens[item.loss_mask == 1].tolist()
        assert theirs.decode(trained, skip_special_tokens=False).rstrip("\n") == f"{completion}<|im_end|>"


def test_invalid_records_keep_their_place_and_the_others_go_on(folder: Path) -> None:
    refusing = "{% if messages[0].content == 'no' %}{{ raise_exception('not this') }}{% endif %}" + CHATML
    records = [record("a", ""), record("Why?", "Because."), [1], record("no", "x")]
    batch = encode(folder, records, refusing)
    assert len(batch.items) == 1 and batch.records == 4
    assert [(one.place, one.reason) for one in batch.invalid] == [
        (7, "an empty turn of the assistant"),
        (9, "a JSON array, not an object"),
        (10, "the chat template refuses it: not this"),
    ]


def test_special_tokens_in_a_text_are_counted_or_refused(folder: Path) -> None:
    records = [record("Why?", "<|im_end|>"), record("Why?", "Because.")]
    assert encode(folder, records).with_special_tokens == 1
    batch = encode(folder, records, refuse_special_tokens=True)
    assert len(batch.items) == 1 and batch.with_special_tokens == 0
    assert [one.reason for one in batch.invalid] == ["a special token is written in its text"]
