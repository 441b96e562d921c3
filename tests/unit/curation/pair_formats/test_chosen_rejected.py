"""Formats that name the better response: those of OpenAI, ms-swift and Orca, beside those of test_records."""

from typing import Any

import pytest

from megatron_redone.curation.pair_formats.chosen_rejected import from_ms_swift, from_openai, from_orca, from_trl
from megatron_redone.formats.input_records import InvalidRecordError


def turn(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


SYSTEM, WHY, HOW = turn("system", "Be brief."), turn("user", "Why?"), turn("user", "How?")
YES, NO, SO = turn("assistant", "Yes."), turn("assistant", "No."), turn("assistant", "So.")
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
OPENAI = {"input": {"messages": [WHY], "tools": [TOOL]}, "preferred_output": [YES], "non_preferred_output": [NO]}


def test_openais_preferred_output() -> None:
    pair = from_openai(OPENAI)
    assert (pair.prompt, pair.chosen, pair.rejected, pair.tools) == ([WHY], [YES], [NO], [TOOL])


def test_ms_swift_rejects_the_last_answer_for_another_whatever_else_it_has() -> None:
    chosen = turn("assistant", "Yes.", reasoning_content="It says so.")
    pair = from_ms_swift({"messages": [SYSTEM, WHY, SO, HOW, chosen], "rejected_response": "No."})
    assert (pair.prompt, pair.chosen, pair.rejected) == ([SYSTEM, WHY, SO, HOW], [chosen], [NO])
    whole = from_ms_swift({"messages": [WHY, SO, HOW, YES], "rejected_messages": [WHY, SO, HOW, NO]})
    assert (whole.prompt, whole.chosen, whole.rejected) == ([WHY, SO, HOW], [YES], [NO])
    older = {"query": "How?", "response": "Yes.", "rejected_response": "No.", "history": [["Why?", "So."]]}
    pair = from_ms_swift({**older, "system": "Be brief."})
    assert (pair.prompt, pair.chosen, pair.rejected) == ([SYSTEM, WHY, SO, HOW], [YES], [NO])


def test_orcas_question_has_two_names() -> None:
    for key in ("question", "input"):
        pair = from_orca({"system": "Be brief.", key: "Why?", "chosen": "Yes.", "rejected": "No."})
        assert (pair.prompt, pair.chosen, pair.rejected) == ([SYSTEM, WHY], [YES], [NO])


def test_a_system_prompt_beside_the_prompt_is_not_dropped() -> None:
    record = {"prompt": "Why?", "chosen": "Yes.", "rejected": "No.", "system": "Be brief."}
    assert from_trl(record).prompt == [SYSTEM, WHY]
    assert from_trl({**record, "prompt": [SYSTEM, WHY]}).prompt == [SYSTEM, WHY]
    assert from_trl({**record, "system": {"id": 7}}).prompt == [WHY]
    with pytest.raises(InvalidRecordError, match="two system prompts"):
        from_trl({**record, "prompt": [turn("system", "Be long."), WHY]})


@pytest.mark.parametrize(
    ("read", "record", "reason"),
    [
        (from_openai, {**OPENAI, "input": "Why?"}, "'input' is not an object with messages"),
        (from_openai, {"input": {"messages": [WHY]}, "preferred_output": [YES]}, "no key 'non_preferred_output'"),
        (from_ms_swift, {"messages": [WHY, YES]}, "no key 'rejected_response'"),
        (from_ms_swift, {"messages": [WHY, YES], "rejected_response": " "}, "an empty turn of the assistant"),
        (from_orca, {"question": "", "chosen": "Yes.", "rejected": "No."}, "'question' is empty"),
    ],
)
def test_bad_records_are_refused_with_the_reason(read: Any, record: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRecordError, match=reason):
        read(record)
