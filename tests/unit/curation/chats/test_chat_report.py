"""The list of sources, and the same as a table."""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from megatron_redone.config.prepare_sft import ConversationSource
from megatron_redone.curation.chats.chat_data import ChatData, SourcePlan
from megatron_redone.curation.chats.chat_report import listing_path, log_table, write_listing
from megatron_redone.formats.manifest import CONVERSATIONS, write_manifest

DATA = ChatData(
    stage="prepare-sft",
    unit="conversations",
    recognise=lambda _, __: None,
    build=lambda *_: None,  # type: ignore[arg-type, return-value]
    open_writer=lambda *_: None,  # type: ignore[arg-type, return-value]
    add=lambda *_: None,
    write_manifest=lambda *_: None,
    format_advice="set format",
    answer_advice="set on_lost_answer",
)


@dataclasses.dataclass
class Manifest:
    """As much of one as a list shows."""

    counts: dict[str, Any]
    record_formats: dict[str, int]


def plan(folder: Path, name: str, held_out: int, invalid: dict[str, int], special: int = 0, **more: Any) -> SourcePlan:
    source = ConversationSource(input=["x"], name=name, validation_count=held_out, capability="chat")
    found = SourcePlan(0, source, [], str(folder / name), "work")
    for split, prefix in found.splits.items():
        count = 9000 if split == "train" else held_out
        counts = {
            **{"conversations": count, "tokens": 10 * count, "trained_tokens": 3 * count, "records": 9999},
            **{"invalid": sum(invalid.values()), "invalid_by_reason": invalid, "with_special_tokens": special},
            **more,
        }
        write_manifest(prefix, Manifest(counts, {"messages": count}), CONVERSATIONS)
    return found


def test_the_list_has_the_counts_of_each_split(tmp_path: Path) -> None:
    write_listing(str(tmp_path), DATA, [plan(tmp_path, "a", 100, {"no messages": 2}), plan(tmp_path, "b", 0, {})])
    content = json.loads(listing_path(str(tmp_path)).read_text())
    a, b = content["sources"]
    assert (a["name"], a["capability"], a["invalid_by_reason"]) == ("a", "chat", {"no messages": 2})
    assert a["train"] == {"conversations": 9000, "tokens": 90_000, "trained_tokens": 27_000}
    assert a["validation"]["conversations"] == 100 and "validation" not in b and content["stage"] == "prepare-sft"


def test_the_table_sums_both_splits_and_names_the_most_frequent_reasons(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reasons = {"no messages": 4, "malformed JSON": 3, "empty line": 2, "no role": 1}
    with caplog.at_level(logging.INFO):
        log_table(DATA, [plan(tmp_path, "a", 100, reasons, special=5), plan(tmp_path, "b", 0, {})])
    header, a, b, *remarks = caplog.messages
    assert header.split() == ["source", "capability", "conversations", "held", "out", "tokens", "trained", "invalid"]
    assert a.split() == ["a", "chat", "9,000", "100", "91,000", "30.0", "%", "10"]
    assert b.split() == ["b", "chat", "9,000", "-", "90,000", "30.0", "%", "0"]
    assert f"{tmp_path / 'a'}.invalid.jsonl" in remarks[0] and "5 records" in remarks[-1]
    assert [line.split("  ")[-1] for line in remarks[1:4]] == ["no messages", "malformed JSON", "empty line"]
    assert len(remarks) == 5, "of the source without anything to remark there is none"


def test_lost_parts_and_unused_responses_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lost = {"text": 3, "reasoning": 1200}
    with caplog.at_level(logging.INFO):
        log_table(DATA, [plan(tmp_path, "a", 0, {}, lost_parts=lost, unused_responses=2), plan(tmp_path, "b", 0, {})])
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        "a: the chat template leaves out parts of answers (reasoning 1,200, text 3); set on_lost_answer",
        "a: 2 responses are neither the best nor the worst of their record, and in no pair",
    ]
