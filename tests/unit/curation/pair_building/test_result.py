"""Pairs and reasons of an entry: every outcome is in one of the two lists."""

from megatron_redone.curation.pair_building.labelled_records import NoPair, Pair, Record, Records, no_pair
from megatron_redone.curation.pair_building.result import collect


def record(number: int, prompt: str = "?") -> Record:
    return Record(str(number), f"x.jsonl:{number}", [{"role": "user", "content": prompt}], {})


def pair(number: int, chosen: str, rejected: str, prompt: str = "?") -> Pair:
    return Pair(record(number, prompt), chosen, rejected, 1, 0)


INVALID = NoPair("x.jsonl:9", "malformed JSON", "{", is_invalid=True)


def test_nothing_is_lost_and_a_pair_is_taken_once() -> None:
    outcomes = [
        pair(1, "a", "b"),
        no_pair(record(2), "a tie"),
        pair(3, "a", "b"),
        pair(4, "b", "a"),
        pair(5, "a", "b", prompt="other"),
        no_pair(record(6), "a tie"),
    ]
    result = collect(Records([record(i) for i in range(1, 7)], [INVALID], []), outcomes)
    assert [one.record.id for one in result.pairs] == ["1", "4", "5"], "turned round or asked otherwise it is another"
    assert len(result.pairs) + len(result.no_pairs) == result.records.total == 7
    assert result.no_pairs[0] is INVALID
    assert list(result.no_pair_by_reason.items()) == [
        ("a tie", 2), ("malformed JSON", 1), ("the same pair stands before", 1),
    ]  # fmt: skip
    assert result.no_pairs[-2].origin == "x.jsonl:3" and result.metrics == {}
