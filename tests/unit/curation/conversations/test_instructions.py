"""Alpaca, self-instruct, and prompt with completion."""

from typing import Any

import pytest

from megatron_redone.config.prepare_sft import ConversationFormat, ConversationSource
from megatron_redone.curation.conversations.instructions import (
    from_alpaca,
    from_prompt_completion,
    from_self_instruct,
)
from megatron_redone.curation.conversations.records import recognise
from megatron_redone.formats.input_records import InvalidRecordError

SOURCE = ConversationSource(input=["x.jsonl"], name="x")


def turn(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


def test_every_instance_of_a_self_instruct_task_is_a_conversation() -> None:
    instances = [{"input": "Why?", "output": "Because."}, {"input": "", "output": "Yes."}]
    record = {"id": "seed", "instruction": "Answer", "instances": instances}
    assert recognise(record, SOURCE) is ConversationFormat.self_instruct
    first, second = from_self_instruct(record)
    assert first.messages == [turn("user", "Answer\nWhy?"), turn("assistant", "Because.")]
    assert second.messages == [turn("user", "Answer"), turn("assistant", "Yes.")]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"instruction": "x", "output": ""}, "'output' is empty"),
        ({"instruction": "x", "input": 7, "output": "y"}, "'input' is a number, not a string"),
        ({"instruction": "x", "output": "y", "history": ["z"]}, "'history' is not a list of pairs"),
    ],
)
def test_bad_alpaca_is_refused_with_the_reason(record: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRecordError, match=f"^{reason}"):
        from_alpaca(record)


def test_instances_that_are_none_are_refused() -> None:
    with pytest.raises(InvalidRecordError, match=r"^'instances' are not a list of objects"):
        from_self_instruct({"instruction": "x", "instances": "y"})


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"prompt": "x"}, "no key 'completion'"),
        ({"prompt": "x", "completion": ""}, "an empty turn of the assistant"),
    ],
)
def test_a_prompt_without_a_completion_is_refused(record: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRecordError, match=f"^{reason}"):
        from_prompt_completion(record, "prompt", "completion")
