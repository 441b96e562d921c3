"""What comes back from a process, and the tally of it."""

from megatron_redone.config.prepare_sft import ConversationFormat
from megatron_redone.curation.chats.chat_batches import EncodedBatch, Tally, parsed
from megatron_redone.formats.input_records import EXCERPT
from megatron_redone.formats.raw_records import RawBatch, RawRecord


def batch(records: int, *reasons: str) -> EncodedBatch:
    result = EncodedBatch("x.jsonl", records)
    for place, reason in enumerate(reasons, 1):
        result.add_invalid(RawRecord(place, b"{" * 2000), reason)
    return result


def test_records_are_counted_by_format_and_reason_over_batches() -> None:
    tally = Tally()
    tally.add(batch(10, "empty", "empty", "no role"), ConversationFormat.messages)
    tally.add(batch(4, "empty"), ConversationFormat.sharegpt)
    tally.add(batch(2, "malformed JSON", "malformed JSON"), None)
    assert (tally.records, tally.invalid.total()) == (16, 6) and tally.invalid["empty"] == 3
    assert dict(tally.formats) == {"messages": 7, "sharegpt": 3}
    assert tally.records == tally.invalid.total() + tally.formats.total()


def test_an_invalid_record_is_known_by_its_place_and_shown_by_its_beginning() -> None:
    [record] = batch(1, "malformed JSON").invalid
    assert (record.file, record.place, record.reason) == ("x.jsonl", 1, "malformed JSON")
    assert record.excerpt == "{" * EXCERPT


def test_the_records_that_a_format_is_told_by_are_objects() -> None:
    lines = [b"{", b"[1]", b'{"a": 1}', b'{"b": "\xff"}']
    records = [*(RawRecord(n, line) for n, line in enumerate(lines, 1)), RawRecord(5, b"{}", "not read")]
    assert list(parsed(RawBatch("x", records))) == [{"a": 1}]
