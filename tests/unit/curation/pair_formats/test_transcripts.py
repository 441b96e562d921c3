"""Dialogues in one text: written with the markers, read, and the same again."""

from typing import Any

import pytest

from megatron_redone.curation.pair_formats.transcripts import (
    hh_messages,
    is_hh_transcript,
    is_nemo_prompt,
    nemo_messages,
    without_nemo_end,
)
from megatron_redone.formats.input_records import InvalidRecordError

TURNS = [
    {"role": "user", "content": "Why?\n\nTell me: Human nature?"},
    {"role": "assistant", "content": "So.\nAssistant: no marker"},
    {"role": "user", "content": "好"},
]


def test_a_transcript_is_read_as_it_was_written() -> None:
    speakers = {"user": "Human", "assistant": "Assistant"}
    text = "".join(f"\n\n{speakers[turn['role']]}: {turn['content']}" for turn in TURNS)
    assert is_hh_transcript(text) and hh_messages(text) == TURNS


def test_a_nemo_prompt_is_read_as_it_was_written() -> None:
    def written(*turns: dict[str, Any]) -> str:
        return "".join(f"<extra_id_1>{turn['role'].capitalize()}\n{turn['content']}\n" for turn in turns)

    asking = "<extra_id_1>Assistant\n"
    system = {"role": "system", "content": "Be brief."}
    with_system = written(system, *TURNS).replace("<extra_id_1>", "<extra_id_0>", 1)
    assert is_nemo_prompt(with_system) and nemo_messages(with_system + asking) == [system, *TURNS]
    # The template writes an empty system prompt where there is none.
    assert nemo_messages("<extra_id_0>System\n\n" + written(*TURNS) + asking) == TURNS
    assert nemo_messages(written(*TURNS)) == TURNS


@pytest.mark.parametrize("text", ["No.", "Human: Why?", "", None, 7, ["\n\nHuman: Why?"]])
def test_other_things_are_no_transcript(text: Any) -> None:
    assert not is_hh_transcript(text)
    with pytest.raises(InvalidRecordError, match="not a transcript"):
        hh_messages(text)


@pytest.mark.parametrize("written", ["Yes.\n<extra_id_1>", "Yes.<extra_id_1>\n", "Yes.", "Yes. \n"])
def test_the_mark_behind_a_response_is_no_part_of_it(written: str) -> None:
    assert without_nemo_end(written) == "Yes."
    assert not is_nemo_prompt(written)
