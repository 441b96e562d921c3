"""Records with their prompts, and why some have none."""

import json
from pathlib import Path
from typing import Any

import pytest

from megatron_redone.config.build_preferences import SourceConfig
from megatron_redone.curation.pair_building.labelled_records import (
    Record,
    gold_of,
    no_pair,
    read_source,
    responses_of,
)
from megatron_redone.errors import UserError
from megatron_redone.formats.input_records import InvalidRecordError
from tests.helpers.preference_sources import write_lines


def source(*names: str, prompt: str = "{q}", id_key: str | None = None) -> SourceConfig:
    return SourceConfig(input=list(names), prompt=prompt, id_key=id_key)


def record(**fields: Any) -> Record:
    return Record("7", "x.jsonl:1", [], fields)


def test_a_prompt_is_put_together_from_keys(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", [{"q": "{n} 好", "n": 3}, {"q": "only", "n": 1.5}])
    found = read_source(source(file, prompt=" Q{n}: {q}\n"))
    assert [one.messages for one in found.good] == [
        [{"role": "user", "content": "Q3: {n} 好"}],
        [{"role": "user", "content": "Q1.5: only"}],
    ], "what stands in a record's text is no key"
    assert [one.id for one in found.good] == ["a.jsonl:1", "a.jsonl:2"] and found.total == 2


def test_places_identify_records_unless_two_files_have_one_name(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    files = [write_lines(tmp_path / folder / "a.jsonl", [{"q": "x", "id": folder}]) for folder in ("one", "two")]
    found = read_source(source(*files))
    assert len(found.good) == 1 and [one.reason for one in found.invalid] == [
        "another file has the same name; set id_key"
    ]
    assert [one.id for one in read_source(source(*files, id_key="id")).good] == ["one", "two"]


def test_an_invalid_record_does_not_take_an_id(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", [{"q": " ", "id": 1}, {"q": "x", "id": 1}, "{", {"q": "y", "id": "1"}])
    found = read_source(source(file, id_key="id"))
    assert [one.origin for one in found.good] == [f"{file}:2"] and found.total == 4
    assert [(one.origin.rsplit(":", 1)[1], one.reason) for one in found.invalid] == [
        ("1", "empty prompt"),
        ("3", "malformed JSON"),
        ("4", "'id' identifies an earlier record too"),
    ]
    assert all(one.is_invalid for one in found.invalid)
    assert json.loads(found.invalid[0].excerpt) == {"q": " ", "id": 1} and found.invalid[1].excerpt == "{"


def test_messages_keep_what_templates_read_or_are_refused(tmp_path: Path) -> None:
    asked, told = {"role": "user", "content": "How warm?"}, {"role": "tool", "content": "42", "name": "warmth"}
    call = {"function": {"name": "warmth", "arguments": "{}"}}
    lines = [
        [asked, {"role": "assistant", "content": "", "tool_calls": [call]}, told],
        [asked, {"role": "assistant", "content": "Well", "function_call": call["function"], "reasoning": "so"}, asked],
        [asked, {"role": "assistant", "content": "Well", "tool_calls": None, "reasoning_content": ""}, asked],
        [asked, {"role": "assistant", "content": "<tool_call>warmth</tool_call>", "tool_calls": []}, told],
    ]
    file = write_lines(tmp_path / "a.jsonl", [{"q": messages} for messages in lines])
    found = read_source(source(file))
    assert [one.reason for one in found.invalid] == [
        "'q' has messages with tool_calls, which prompts of pairs cannot hold",
        "'q' has messages with function_call, reasoning, which prompts of pairs cannot hold",
    ]
    assert [one.messages for one in found.good] == [
        [asked, {"role": "assistant", "content": "Well"}, asked],
        [asked, {"role": "assistant", "content": "<tool_call>warmth</tool_call>"}, told],
    ]


def test_a_source_without_a_good_record_is_refused_with_the_first_reason(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", [{"question": "x"}])
    with pytest.raises(UserError, match="not one record that can be used; the first is invalid: no key 'q'"):
        read_source(source(file))


def test_responses_are_under_keys_or_in_a_list() -> None:
    assert responses_of(record(a="x", b="y"), ["a", "b"]) == ["x", "y"] == responses_of(record(r=["x", "y"]), ["r"])
    for fields, keys, reason in (
        ({"a": "x"}, ["a", "b"], "no key 'b'"),
        ({"r": ["x"]}, ["r"], "'r' is not a list of two responses or more"),
        ({"r": ["x", None]}, ["r"], "a response in 'r' is null, not a string"),
        ({"r": ["x", " "]}, ["r"], "a response in 'r' is empty"),
    ):
        with pytest.raises(InvalidRecordError, match=f"^{reason}$"):
            responses_of(record(**fields), keys)


def test_a_right_answer_may_be_a_number() -> None:
    assert (gold_of(record(a=7), "a"), gold_of(record(a=" x"), "a")) == ("7", " x")
    for value, reason in ((True, "'a' is a boolean"), ([7], "'a' is an array"), ("", "'a' is empty")):
        with pytest.raises(InvalidRecordError, match=f"^{reason}"):
            gold_of(record(a=value), "a")


def test_an_invalid_record_is_told_from_one_that_has_nothing_to_teach() -> None:
    assert no_pair(record(), InvalidRecordError("x")).is_invalid and not no_pair(record(), "a tie").is_invalid
    assert len(no_pair(record(text="x" * 10_000), "a tie").excerpt) == 500
