"""Records to ids and masks: the ids are those of the rendered text, the mask is on what the assistant says."""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from megatron_redone.config.chat_source import OnLostAnswer
from megatron_redone.config.prepare_sft import (
    ConversationFormat,
    ConversationSource,
    History,
    LossOn,
    PrepareSFTConfig,
)
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


def encode(
    folder: Path,
    records: list[Any],
    template: str = CHATML,
    format: ConversationFormat = ConversationFormat.prompt_completion,
    ignored_marks: Sequence[str] = (),
    **more: Any,
) -> EncodedBatch:
    config = PrepareSFTConfig(
        sources=[ConversationSource(input=["x"], name="x", ignored_marks=list(ignored_marks))],
        tokenizer=TokenizerConfig(path=str(folder)),
        output_dir="x",
        **more,
    )
    encoder = ConversationEncoder(config, ChatTemplateFile(template, template, "x"), datetime(2025, 7, 10))
    raw = [RawRecord(line, json.dumps(record).encode()) for line, record in enumerate(records, 7)]
    return encoder.encode(RawChats(0, format, RawBatch("x", raw)))


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


def marked(mark: dict[str, Any], sharegpt: bool = False, loss_on_user: dict[str, Any] | None = None) -> dict[str, Any]:
    """The first answer is wrong and has a mark, the second is right."""
    turns = ("Is the pier open?", "WRONG: no idea.", "Look again.", "RIGHT: yes, until nine.")
    names = ("from", "value", "human", "gpt") if sharegpt else ("role", "content", "user", "assistant")
    messages = [{names[0]: names[2 + number % 2], names[1]: text} for number, text in enumerate(turns)]
    messages[1].update(mark)
    messages[2].update(loss_on_user or {})
    return {"conversations" if sharegpt else "messages": messages}


def learned(folder: Path, batch: EncodedBatch) -> list[str]:
    library = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return [library.decode(i.tokens[i.loss_mask > 0].tolist(), skip_special_tokens=False) for i in batch.items]


@pytest.mark.parametrize("sharegpt", [False, True])
@pytest.mark.parametrize("mark", [{"loss": False}, {"training": False}, {"weight": 0}, {"train": False}])
def test_a_turn_that_is_marked_is_not_learned(folder: Path, mark: dict[str, Any], sharegpt: bool) -> None:
    format = ConversationFormat.sharegpt if sharegpt else ConversationFormat.messages
    for loss_on, others in ((LossOn.assistant, ""), (LossOn.all, "pier")):
        batch = encode(folder, [marked(mark, sharegpt)], format=format, loss_on=loss_on)
        (text,) = learned(folder, batch)
        assert "RIGHT" in text and "WRONG" not in text and others in text
        assert batch.items[0].loss_mask.dtype == np.uint8


def test_a_weight_between_0_and_1_is_the_loss_weight_of_its_tokens(folder: Path) -> None:
    (item,) = encode(folder, [marked({"weight": 0.5})], format=ConversationFormat.messages).items
    library = Tokenizer.from_file(str(folder / "tokenizer.json"))
    halves = library.decode(item.tokens[item.loss_mask == 0.5].tolist(), skip_special_tokens=False)
    wholes = library.decode(item.tokens[item.loss_mask == 1].tolist(), skip_special_tokens=False)
    assert (halves, wholes) == ("WRONG: no idea.<|im_end|>", "RIGHT: yes, until nine.<|im_end|>")
    assert item.loss_mask.dtype == np.float32


def test_a_mark_that_is_not_known_is_refused_and_named_unless_it_is_said_to_be_none(folder: Path) -> None:
    records = [marked({"no_loss": True}), marked({}), marked({"no_loss": False, "train_id": 3})]
    batch = encode(folder, records, format=ConversationFormat.messages)
    assert batch.unknown_marks == {"no_loss": 2, "train_id": 1} and len(batch.items) == 1
    assert batch.invalid[1].reason == "unknown marks of what is learned: no_loss, train_id"
    ignoring = encode(folder, records, format=ConversationFormat.messages, ignored_marks=["no_loss", "train_id"])
    assert len(ignoring.items) == 3 and not ignoring.unknown_marks


def test_a_mark_on_a_turn_of_the_user_is_obeyed_or_refused(folder: Path) -> None:
    records = [marked({}, loss_on_user={"train": train}) for train in (True, False)]
    batch = encode(folder, records, format=ConversationFormat.messages)
    assert [one.reason for one in batch.invalid] == [
        "a turn of the user is marked to be learned; only the assistant's are"
    ]
    batch = encode(folder, records, format=ConversationFormat.messages, loss_on=LossOn.all)
    assert [one.reason for one in batch.invalid] == ["a turn of the user is marked; loss_on=all learns all of it"]


def test_answers_that_lose_a_part_are_invalid_or_kept_and_counted_both_ways(folder: Path) -> None:
    chat = {
        "messages": [
            *record_messages("1+1?"),
            {"role": "assistant", "reasoning_content": "One and one.", "content": "2"},
        ]
    }
    whole = marked({})
    strict = encode(folder, [chat, whole], format=ConversationFormat.messages)
    assert [one.reason for one in strict.invalid] == ["the chat template leaves out a part of an answer: reasoning"]
    kept = encode(folder, [chat, whole], format=ConversationFormat.messages, on_lost_answer=OnLostAnswer.keep)
    assert len(strict.items) == 1 and len(kept.items) == 2 and learned(folder, kept)[0] == "2<|im_end|>"
    assert strict.lost_parts == kept.lost_parts == {"reasoning": 1}


def record_messages(question: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": question}]


def test_rows_of_one_conversation_are_held_out_together(folder: Path) -> None:
    rewriting = CHATML.replace("m.content", "(m.content if loop.last else m.content.split('</think>')[-1])")
    chat = marked({})
    chat["messages"][1]["content"] = "<think>Hm.</think>So."
    batch = encode(folder, [chat], rewriting, ConversationFormat.messages, history=History.generated)
    assert len(batch.items) == 2 and len({item.key for item in batch.items}) == 1 and not batch.lost_parts
    assert learned(folder, batch) == ["<think>Hm.</think>So.<|im_end|>", "RIGHT: yes, until nine.<|im_end|>"]


def test_a_records_variables_reach_the_template(folder: Path) -> None:
    template = "{{ '[' + mood + ']' if mood is defined else '' }}" + CHATML
    records = [{**record("Why?", "So."), "chat_template_kwargs": {"mood": "calm"}}, record("Why?", "So.")]
    library = Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = [library.decode(item.tokens, skip_special_tokens=False) for item in encode(folder, records, template).items]
    assert [text.startswith("[calm]") for text in texts] == [True, False]
