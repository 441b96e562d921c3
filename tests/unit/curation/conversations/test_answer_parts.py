"""What an answer is made of, and which of it a text does not hold."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from megatron_redone.curation.conversations.answer_parts import (
    answer_parts,
    check_reasoning,
    lost_from_context,
    lost_parts,
    parts_beside_text,
)
from megatron_redone.formats.input_records import InvalidRecordError
from megatron_redone.tokenization.chat_template import TemplateRefusal

CALL = {"type": "function", "function": {"name": "tide", "arguments": {"port": "Rye", "days": [1, 2], "on": True}}}
WRITTEN_CALL = '{"name": "tide", "parameters": {"port": "Rye", "days": [1, 2], "on": true}}'


def answer(content: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def kinds(message: dict[str, Any]) -> list[tuple[str, str]]:
    return [(part.kind, part.text) for part in answer_parts(message)]


def test_thoughts_in_a_content_are_parts_of_their_own() -> None:
    thought = [("reasoning", "so"), ("text", "2")]
    for content in ("<think>\nso\n</think>\n\n2", "so</think>2", "[THINK]so[/THINK]2", "◁think▷so◁/think▷2"):
        assert kinds(answer(content)) == thought, content
    assert kinds(answer("<|begin_of_thought|>so<|end_of_thought|>2")) == thought
    assert kinds(answer("1<thinking>so</thinking>2")) == [("text", "1"), ("reasoning", "so"), ("text", "2")]
    assert kinds(answer("<think>\n\n</think>\n\n2")) == [("text", "2")]
    assert kinds(answer("2", reasoning_content=" so", refusal="no", tool_calls=[CALL])) == [
        *(("reasoning", "so"), ("text", "2"), ("text", "no"), ("call", "tide")),
    ]


def test_a_reasoning_that_is_said_twice_is_one_part() -> None:
    message = answer("2", reasoning="so", reasoning_content="so ")
    assert kinds(message) == [("reasoning", "so"), ("text", "2")]
    assert len(kinds({**message, "thinking": "why"})) == 3
    assert parts_beside_text({**message, "value": "2", "tool_calls": [CALL], "thought": None}) == {
        **{"reasoning": "so", "reasoning_content": "so ", "tool_calls": [CALL]},
    }


LOST: list[tuple[dict[str, Any], str, list[str]]] = [
    (answer("2"), "2<|im_end|>", []),
    (answer(" 2\n"), "2<|im_end|>", []),
    (answer("so long"), "so<|im_end|>", ["text"]),
    (answer("2", reasoning="A long thought about one and one, and two."), "2<|im_end|>", ["reasoning"]),
    (answer("<think>so</think>2"), "<think>so</think>2", []),
    (answer("<think>so</think>2"), "<think>\nso\n</think>\n\n2<|im_end|>", []),
    (answer("", tool_calls=[CALL]), WRITTEN_CALL, []),
    (answer("", tool_calls=[CALL]), WRITTEN_CALL.replace("Rye", "x"), ["call"]),
    (answer("", tool_calls=[CALL]), WRITTEN_CALL.replace("true", "x"), ["call"]),
    (answer("", tool_calls=[CALL]), "<|im_end|>", ["call"]),
    (answer("", tool_calls=[CALL, CALL]), WRITTEN_CALL, ["call"]),
    (answer("", tool_calls=[CALL]), "tide(port='Rye', days=[1, 2], on=True)", []),
    (answer("I look it up in the table of all the tides.", tool_calls=[CALL]), WRITTEN_CALL, ["text"]),
]


@pytest.mark.parametrize(("message", "written", "lost"), LOST)
def test_parts_that_a_text_does_not_hold_are_lost(message: dict[str, Any], written: str, lost: list[str]) -> None:
    def renders_all(message: Mapping[str, Any]) -> str:
        return json.dumps(message, ensure_ascii=False)

    assert lost_parts(message, written, renders_all) == lost


def test_a_short_part_that_stands_in_another_by_chance_is_lost_all_the_same() -> None:
    """`name` stands in what Llama 3.1's template writes for a call, the thought `2` in the text."""

    def drops_text(message: Mapping[str, Any]) -> str:
        return json.dumps(message["tool_calls"])

    def drops_reasoning(message: Mapping[str, Any]) -> str:
        return message["content"]

    def refuses(message: Mapping[str, Any]) -> str:
        raise TemplateRefusal("no such text")

    both = answer("name", tool_calls=[CALL])
    assert lost_parts(both, WRITTEN_CALL, drops_text) == ["text"]
    assert lost_parts(both, WRITTEN_CALL, refuses) == []
    assert lost_parts(answer("2", reasoning="2"), "<think>\n\n</think>2 2", drops_reasoning) == ["reasoning"]


def test_each_part_needs_a_place_of_its_own() -> None:
    thought = "One and one make two, as everybody knows."
    message = answer(f"{thought} So it is 2.", reasoning_content=thought)
    assert lost_parts(message, message["content"], json.dumps) == ["reasoning"]


def test_the_reasoning_of_an_answer_that_is_not_learned_may_go() -> None:
    message = answer("<think>so</think>2", reasoning="why", tool_calls=[CALL])
    assert lost_from_context(message, f"2 {WRITTEN_CALL}") == []
    assert lost_from_context(message, "so") == ["text", "call"]


def test_reasoning_that_is_no_text_is_refused() -> None:
    check_reasoning(answer("2", reasoning_content="so", thinking=None))
    with pytest.raises(InvalidRecordError, match="'thinking' is not a string"):
        check_reasoning(answer("2", thinking=["so"]))
