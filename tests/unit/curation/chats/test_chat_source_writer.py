"""The files of a source: all of them or none, and the list of invalid records where they are the error."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megatron_redone.config.prepare_sft import ConversationFormat, ConversationSource
from megatron_redone.curation.chats.chat_batches import EncodedBatch, EncodedItem, Tally
from megatron_redone.curation.chats.chat_data import ChatData, SourceFacts, SourcePlan
from megatron_redone.curation.chats.chat_source_writer import SourceWriter, remove_dataset
from megatron_redone.curation.conversations.conversation import content_key
from megatron_redone.errors import UserError
from megatron_redone.formats.manifest import TokenizerRecord
from megatron_redone.formats.masked_tokens import MaskedTokensSummary, MaskedTokensWriter
from megatron_redone.formats.raw_records import RawRecord

FACTS = SourceFacts("a", "chat", TokenizerRecord("x", "x", 100, 2), {}, "", "", [], "work", {})


def batch(first: int, count: int, invalid: int = 0) -> EncodedBatch:
    ids, mask = np.arange(5, dtype=np.uint32), np.array([0, 0, 1, 1, 1], np.uint8)
    result = EncodedBatch("x.jsonl", count + invalid)
    result.items += [
        EncodedItem(ids + number % 90, mask, (5,), content_key(str(number))) for number in range(first, first + count)
    ]
    for place in range(invalid):
        result.add_invalid(RawRecord(place + 1, b"{"), "malformed JSON")
    return result


class Written:
    """What was asked of the manifests, in order."""

    def __init__(self, tmp_path: Path, **held_out: Any) -> None:
        self.manifests: list[tuple[str, int, bool]] = []
        self.data = ChatData(
            stage="prepare-sft",
            unit="conversations",
            recognise=lambda _, __: None,
            build=lambda *_: lambda _: batch(0, 0),
            open_writer=MaskedTokensWriter,
            add=self._add,
            write_manifest=self._write,
            format_advice="set format",
            answer_advice="set on_lost_answer",
        )
        source = ConversationSource(input=["x.jsonl"], name="a", **held_out)
        self.plan = SourcePlan(0, source, [], str(tmp_path / "a"), "work")

    @staticmethod
    def _add(writer: Any, items: Sequence[EncodedItem]) -> None:
        tokens, mask = (np.concatenate([getattr(item, n) for item in items]) for n in ("tokens", "loss_mask"))
        writer.add(tokens, mask, np.array([5] * len(items), np.int64))

    def _write(self, _: str, split: str, facts: SourceFacts, written: MaskedTokensSummary, tally: Tally) -> None:
        assert written.trained_tokens == 3 * written.sequences and tally.records >= written.sequences
        self.manifests.append((split, written.sequences, bool(facts.reports)))

    def run(self, *batches: EncodedBatch, max_invalid: float = 0.5) -> None:
        with SourceWriter(self.data, self.plan, 100, max_invalid) as writer:
            for one in batches:
                writer.add(one, ConversationFormat.messages)
            writer.finish(FACTS)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_is_trained_on_comes_last_and_nothing_is_in_both(tmp_path: Path) -> None:
    written = Written(tmp_path, validation_count=3)
    written.run(batch(0, 10, invalid=2), batch(10, 10))
    assert written.manifests == [("validation", 3, False), ("train", 17, True)]
    assert {"a.bin", "a.validation.bin", "a.invalid.jsonl"} <= names(tmp_path)


def test_what_is_no_longer_held_out_goes(tmp_path: Path) -> None:
    Written(tmp_path, validation_count=3).run(batch(0, 10, invalid=1))
    written = Written(tmp_path)
    written.run(batch(0, 10))
    assert written.manifests == [("train", 10, False)]
    assert not any("validation" in name or "invalid" in name for name in names(tmp_path))


def test_too_many_invalid_records_leave_their_list_alone(tmp_path: Path) -> None:
    message = r"source a: 3 of 5 records are invalid, more than max_invalid=0\.5 \(3 times: malformed"
    with pytest.raises(UserError, match=message):
        Written(tmp_path).run(batch(0, 2, invalid=3))
    assert names(tmp_path) == {"a.invalid.jsonl"}
    with pytest.raises(UserError, match="not one of 2 records can be used"):
        Written(tmp_path).run(batch(0, 0, invalid=2))


def test_a_long_run_does_not_wait_for_its_end_to_say_so(tmp_path: Path) -> None:
    written = Written(tmp_path)
    writer = SourceWriter(written.data, written.plan, 100, 0.01)
    with writer, pytest.raises(UserError, match="1,000 of 10,000 records are invalid"):
        writer.add(batch(0, 9000, invalid=1000), None)


def test_another_error_leaves_nothing(tmp_path: Path) -> None:
    written = Written(tmp_path, validation_count=1)
    with pytest.raises(KeyboardInterrupt), SourceWriter(written.data, written.plan, 100, 0.5) as writer:
        writer.add(batch(0, 5, invalid=1), None)
        raise KeyboardInterrupt
    assert names(tmp_path) == set() and written.manifests == []


def test_a_split_without_anything_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="source a: nothing of 4 conversations is to learn from; change validation_"):
        Written(tmp_path, validation_count=9).run(batch(0, 4))
    with pytest.raises(UserError, match="nothing of 4 conversations is held out"):
        Written(tmp_path, validation_fraction=1e-9).run(batch(1, 4))


def test_a_dataset_is_removed_with_all_its_files_and_no_others(tmp_path: Path) -> None:
    Written(tmp_path, validation_count=3).run(batch(0, 10))
    remove_dataset(str(tmp_path / "a.validation"))
    indexed = {"a.bin", "a.idx", "a.loss_mask.bin", "a.loss_mask.idx"}
    assert names(tmp_path) == indexed | {f"{name}.xxh3" for name in indexed}


def test_marks_that_are_not_known_end_it_with_all_their_names_however_few_they_are(tmp_path: Path) -> None:
    work, found = Written(tmp_path), batch(0, 500)
    found.add_invalid(RawRecord(501, b"{}"), "unknown marks", ["train_id", "no_loss"])
    found.add_invalid(RawRecord(502, b"{}"), "unknown marks", ["no_loss"])
    with pytest.raises(UserError, match=r"no_loss \(2 records\), train_id \(1 records\); .*a\.invalid.*ignored_marks"):
        work.run(found)
    assert not work.manifests and (tmp_path / "a.invalid.jsonl").exists()


def test_lost_parts_of_answers_come_with_what_to_do(tmp_path: Path) -> None:
    work, found = Written(tmp_path), batch(0, 5, invalid=20)
    found.lost_parts["reasoning"] = 20
    with pytest.raises(UserError, match=r"20 of 25 records are invalid.*set on_lost_answer"):
        work.run(found)
