"""Evaluation inputs: what is taken, drawn, and set aside with its reason."""

import gzip
import inspect
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from megatron_redone.config.prepare_sft import ConversationFormat
from megatron_redone.config.prepare_sft import ConversationSource as SFTSource
from megatron_redone.curation.conversations.learned_rows import learned_rows
from megatron_redone.curation.conversations.records import read_conversations as trained_conversations
from megatron_redone.errors import UserError
from megatron_redone.evaluation import examples
from megatron_redone.evaluation.examples import read_conversations, read_pairs, read_texts
from megatron_redone.generation.chat_prompts import pair_ids, prompt_ids
from megatron_redone.tokenization.chat_template_file import find_chat_template
from megatron_redone.tokenization.chat_tokenizer import ChatTokenizer
from tests.helpers import chat_tokenizers, small_tokenizer
from tests.helpers.golden_chats import TOOLS
from tests.helpers.peak_memory import peak_mb

USER, ANSWER = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}
CALL = {"id": "abcdefghi", "function": {"name": "ferry_times", "arguments": '{"day": "Monday"}'}}
NOON, DATE = datetime(2025, 7, 10, 12, 0), {"date_string": "10 Jul 2025"}
BESIDE_TEXT = "a system prompt, tools or variables beside plain text, which has no place for them"


def _file(folder: Path, *lines: Any) -> str:
    file = folder / "input.jsonl"
    file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return str(file)


def test_texts_are_taken_and_invalid_records_are_set_aside_with_a_reason(tmp_path: Path) -> None:
    path = _file(
        tmp_path, {"text": "one two"}, "{", {"body": "x"}, {"text": 3}, {"text": " "}, "[1]", "", {"text": "b"}
    )
    read = read_texts(path, "text", 3, 10, 0)
    assert [(example.record, example.text) for example in read.examples] == [(1, "one"), (8, "b")]
    assert {item.place: item.reason for item in read.invalid} == {
        2: "malformed JSON",
        3: "no key 'text'",
        4: "'text' is not a string",
        5: "empty text",
        6: "a JSON array, not an object",
        7: "empty line",
    }
    assert read.records == 8 and read.invalid[0].excerpt == "{"


def _gzip(lines: bytes) -> bytes:
    return gzip.compress(lines)


def _zstd(lines: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(lines)


def _array(lines: bytes) -> bytes:
    return b"[" + lines.strip().replace(b"\n", b",\n") + b"]"


@pytest.mark.parametrize(("name", "encode"), [("a.jsonl.gz", _gzip), ("a.jsonl.zst", _zstd), ("a.json", _array)])
def test_every_input_file_gives_what_plain_lines_give(
    name: str, encode: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    plain = _file(tmp_path, {"text": "one two"}, {"body": "x"}, {"text": 3}, {"text": "面很好吃"})
    (tmp_path / name).write_bytes(encode(Path(plain).read_bytes()))
    expected, found = (read_texts(path, "text", None, 10, 0) for path in (plain, str(tmp_path / name)))
    assert found.examples == expected.examples and len(found.examples) == 2
    assert [(item.place, item.reason) for item in found.invalid] == [
        (item.place, item.reason) for item in expected.invalid
    ]


def test_rows_of_parquet_are_read(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", None, "b"]}), tmp_path / "a.parquet")
    found = read_texts(str(tmp_path / "a.parquet"), "text", None, 10, 0)
    assert [(example.record, example.text) for example in found.examples] == [(1, "a"), (3, "b")]


def test_a_draw_is_repeatable_and_keeps_the_order(tmp_path: Path) -> None:
    path = _file(tmp_path, *({"text": str(i)} for i in range(100)))
    one, again, other = (read_texts(path, "text", None, 10, seed).examples for seed in (1, 1, 2))
    assert one == again and one != other
    records = [example.record for example in one]
    assert records == sorted(records) and len(set(records)) == 10


@pytest.mark.parametrize(("seed", "drawn"), [(0, [269, 308, 511, 635, 847]), (1, [35, 471, 511, 754, 950])])
def test_a_seed_goes_on_drawing_the_same_of_the_good_records(seed: int, drawn: list[int], tmp_path: Path) -> None:
    path = _file(tmp_path, *({"text": " " if i % 7 == 3 else str(i)} for i in range(1000)))
    read = read_texts(path, "text", None, 5, seed)
    assert [(example.record, example.text) for example in read.examples] == [(n, str(n - 1)) for n in drawn]
    assert (read.records, len(read.invalid)) == (1000, 143)
    everything = read_texts(path, "text", None, 857, seed).examples
    chosen = np.sort(np.random.default_rng(seed).choice(857, 300, replace=False))
    assert read_texts(path, "text", None, 300, seed).examples == [everything[place] for place in chosen]


def test_memory_goes_by_what_is_drawn_and_not_by_the_file(tmp_path: Path) -> None:
    read_texts(_file(tmp_path, {"text": "one"}), "text", None, 10, 0)  # what is loaded once
    path = str(tmp_path / "input.jsonl")
    with Path(path).open("w") as stream:
        stream.writelines(json.dumps({"text": f"{number} " * 6000}) + "\n" for number in range(3000))
    assert Path(path).stat().st_size > 80e6
    assert peak_mb(lambda: read_texts(path, "text", None, 10, 0)) < 50  # most of it what a file is read through


def test_a_file_that_changes_between_the_two_passes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _file(tmp_path, *({"text": str(i)} for i in range(9)))
    draw = examples._draw

    def draw_while_it_is_written(*arguments: int) -> list[int]:
        _file(tmp_path, {"text": "one"})
        return draw(*arguments)

    monkeypatch.setattr(examples, "_draw", draw_while_it_is_written)
    with pytest.raises(UserError, match=r"input.jsonl: has changed while it was read"):
        read_texts(path, "text", None, 8, 0)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"prompt": "p", "chosen": "a"}, "no key 'rejected'"),
        (
            {"prompt": "p", "chosen": [ANSWER], "rejected": "b"},
            "prompt, chosen and rejected are not all strings or all",
        ),
        ({"prompt": "p", "chosen": "a", "rejected": "a"}, "chosen and rejected are the same"),
        ({"prompt": "p", "chosen": "a", "rejected": " "}, "an empty response"),
        ({"prompt": [USER], "chosen": [], "rejected": [ANSWER]}, "no messages"),
        ({"prompt": [USER], "chosen": [{"content": "x"}], "rejected": [ANSWER]}, "a message has no role"),
        (
            {"prompt": [USER], "chosen": [ANSWER], "rejected": [{**ANSWER, "weight": 1}]},
            "chosen and rejected are the same",
        ),
        ({"prompt": "p", "chosen": "a", "rejected": "b", "tools": TOOLS}, BESIDE_TEXT),
        ({"prompt": "p", "chosen": "a", "rejected": "b", "system": "Be brief."}, BESIDE_TEXT),
        ({"prompt": "p", "chosen": "a", "rejected": "b", "enable_thinking": True}, BESIDE_TEXT),
    ],
)
def test_invalid_pairs(record: Any, reason: str, tmp_path: Path) -> None:
    good = [{"prompt": "p", "chosen": "a", "rejected": "b"},
            {"prompt": [USER], "chosen": [ANSWER], "rejected": [{**ANSWER, "content": "no"}]}]  # fmt: skip
    read = read_pairs(_file(tmp_path, record, *good), 10, 0)
    assert [example.record for example in read.examples] == [2, 3]
    assert read.invalid[0].reason.startswith(reason)


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (None, "messages are a null, not an array"),
        ([USER], "the last message is not an assistant's answer to others"),
        ([ANSWER], "the last message is not an assistant's answer to others"),
        ([USER, {"role": "assistant", "content": None}], "an empty turn of the assistant"),
        ([USER, {"role": "assistant", "content": ""}], "an empty turn of the assistant"),
        ([USER, {**ANSWER, "tool_calls": [CALL]}], "the expected answer calls a tool; only texts are compared"),
    ],
)
def test_invalid_conversations(messages: Any, reason: str, tmp_path: Path) -> None:
    read = read_conversations(_file(tmp_path, {"messages": messages}, {"messages": [USER, ANSWER]}), 10, 0)
    assert [(e.record, e.prompt, e.expected) for e in read.examples] == [(2, [USER], "hello")]
    assert read.invalid[0].reason == reason


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_tokenizer.train(tmp_path_factory.mktemp("small"))


RECORDS: list[dict[str, Any]] = [
    {"system": "Answer briefly.", "tools": TOOLS},
    {"tools": json.dumps([tool["function"] for tool in TOOLS]), "enable_thinking": True},
    {"chat_template_kwargs": {"enable_thinking": False}, "system": "Answer briefly."},
]


@pytest.mark.parametrize("template", ["qwen2_5", "qwen3", "llama3_1"])
@pytest.mark.parametrize("beside", RECORDS)
def test_what_is_asked_is_what_is_trained_on(
    small: Path, template: str, beside: dict[str, Any], tmp_path: Path
) -> None:
    folder = chat_tokenizers.write(tmp_path / template, small, template)
    calling = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    told = {"role": "tool", "content": [{"type": "text", "text": "[9, 18]"}], "tool_call_id": "abcdefghi"}
    prompt = [{**USER, "loss": False}, calling, told]
    conversation = {"messages": [*prompt, {**ANSWER, "weight": 1}], **beside}
    pair = {"prompt": prompt, "chosen": [ANSWER], "rejected": [{**ANSWER, "content": "no"}], **beside}
    source = SFTSource(input=["x"], name="x")
    (read,) = trained_conversations(conversation, ConversationFormat.messages, source)
    ours = ChatTokenizer(str(folder), find_chat_template(folder, None), DATE, NOON)
    ((ids, mask),) = ours.encode(learned_rows(ours, read, [len(read.messages) - 1]).chats)
    trained, asked = ids.tolist(), ids[: int(mask.argmax())].tolist()

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = "{% set date_string = '10 Jul 2025' %}" + tokenizer.chat_template
    (example,) = read_conversations(_file(tmp_path, conversation), 10, 0).examples
    found = prompt_ids(tokenizer, example.prompt, example.beside)
    # Where a record says nothing of thinking, a model that is evaluated is told not to think.
    thought = tokenizer("<think>\n\n</think>\n\n", add_special_tokens=False)["input_ids"]
    assert found == asked or (template == "qwen3" and not read.variables and found == asked + thought)
    assert trained[: len(found)] == found

    (example,) = read_pairs(_file(tmp_path, pair), 10, 0).examples
    sides = pair_ids(tokenizer, example.prompt, (example.chosen, example.rejected), example.beside)
    assert sides.prompt == found and trained[: len(found + sides.chosen)] == found + sides.chosen


def test_variables_that_transformers_takes_for_itself_are_no_variables(tmp_path: Path) -> None:
    taken = set(inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters) - {"kwargs", "tools"}
    for name in sorted(taken):
        record = {"messages": [USER, ANSWER], "chat_template_kwargs": {name: "x"}}
        read = read_conversations(_file(tmp_path, record, {"messages": [USER, ANSWER]}), 10, 0)
        assert [item.reason for item in read.invalid] == [f"variables that no template can read: {name}"]


def test_a_source_without_a_good_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"input.jsonl: not one record that can be used; the first .*: no key 'text'"):
        read_texts(_file(tmp_path, {"body": "x"}), "text", None, 10, 0)
    with pytest.raises(UserError, match="no such file"):
        read_pairs(str(tmp_path / "none.jsonl"), 10, 0)
    (tmp_path / "damaged.jsonl.gz").write_bytes(gzip.compress(b'{"prompt": "p"}')[:-9])
    with pytest.raises(UserError, match=r"damaged.jsonl.gz: cannot be read, is it truncated"):
        read_pairs(str(tmp_path / "damaged.jsonl.gz"), 10, 0)
