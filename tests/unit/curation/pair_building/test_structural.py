"""The right option against wrong ones: single, several, and paths."""

from pathlib import Path
from typing import Any

from megatron_redone.config.build_preferences import StructuralConfig
from megatron_redone.curation.pair_building.labelled_records import read_source
from megatron_redone.curation.pair_building.structural import build_structural
from tests.helpers.preference_sources import entry, reasons, write_lines


def build(tmp_path: Path, records: list[Any], options: dict[str, Any], **more: Any) -> Any:
    values = {
        "name": "options",
        "source": {"input": [write_lines(tmp_path / "records.jsonl", records)], "prompt": "{q}"},
        "options": options,
        **more,
    }
    config = entry(StructuralConfig, tmp_path, values)
    return build_structural(config, read_source(config.source))


def test_every_wrong_option_can_be_had_once(tmp_path: Path) -> None:
    records = [{"q": f"? {i}", "answer": "b", "options": "a, b, c, d,a"} for i in range(20)]
    result = build(tmp_path, records, {"keys": ["options"]}, pairs_per_record=5)
    assert len(result.pairs) == 60 and {pair.chosen for pair in result.pairs} == {"b"}
    for start in range(0, 60, 3):
        assert {pair.rejected for pair in result.pairs[start : start + 3]} == {"a", "c", "d"}
    assert (result.pairs[0].chosen_reward, result.pairs[0].rejected_reward) == (1, 0)


def test_the_choice_depends_on_seed_and_record_alone(tmp_path: Path) -> None:
    records = [{"q": f"? {i}", "answer": "x", "options": ["x", *"abcdefgh"]} for i in range(60)]
    drawn = [pair.rejected for pair in build(tmp_path, records, {"keys": ["options"]}).pairs]
    assert drawn == [pair.rejected for pair in build(tmp_path, records, {"keys": ["options"]}).pairs]
    assert drawn[:30] == [pair.rejected for pair in build(tmp_path, records[:30], {"keys": ["options"]}).pairs]
    assert drawn != [pair.rejected for pair in build(tmp_path, records, {"keys": ["options"]}, seed=1).pairs]
    assert set(drawn) == set("abcdefgh")


def test_options_for_all_and_numbers(tmp_path: Path) -> None:
    records = [{"q": "? 0", "answer": "Yes"}, {"q": "? 1", "answer": "No "}, {"q": "? 2", "answer": 3}]
    result = build(tmp_path, records, {"values": ["Yes", "No"]})
    assert [(pair.chosen, pair.rejected) for pair in result.pairs] == [("Yes", "No"), ("No", "Yes")]
    assert reasons(result) == {"the right answer is not among the options": 1}
    levels = build(tmp_path, records, {"values": ["2", "3"]})
    assert [(pair.chosen, pair.rejected) for pair in levels.pairs] == [("3", "2")]


def test_several_right_options_are_exchanged_for_as_many_wrong_ones(tmp_path: Path) -> None:
    records = [
        {"q": "? 0", "answer": "a, c", "options": "a, b, c, d, e"},
        {"q": "? 1", "answer": "a, b, c", "options": "a, b, c, d"},
        {"q": "? 2", "answer": "a, b", "options": "a, b"},
    ]
    result = build(tmp_path, records, {"keys": ["options"], "separator": ", "})
    first, second = (set(pair.rejected.split(", ")) for pair in result.pairs)
    assert len(first) == 2 and first < {"b", "d", "e"} and second == {"d"}
    assert reasons(result) == {"no option is wrong": 1}


def test_a_path_is_wrong_on_one_level_or_more(tmp_path: Path) -> None:
    record = {
        "answer": "Food | Snacks | Nuts",
        "one": "['Food', 'Pets']",
        "two": ["Snacks", "Dogs"],
        "three": "Nuts,Tea",
    }
    records = [{**record, "q": f"? {i}"} for i in range(80)]
    options = {"keys": ["one", "two", "three"], "separator": " | "}
    paths = [pair.rejected.split(" | ") for pair in build(tmp_path, records, options).pairs]
    changed = [sum(a != b for a, b in zip(path, ["Food", "Snacks", "Nuts"], strict=True)) for path in paths]
    assert len(paths) == 80 and set(changed) == {1, 2, 3}
    assert all(p[0] in ("Food", "Pets") and p[1] in ("Snacks", "Dogs") and p[2] in ("Nuts", "Tea") for p in paths)


def test_what_is_invalid(tmp_path: Path) -> None:
    records = [
        {"q": "? 0", "answer": "a", "options": ["a", "b"]},
        {"q": "? 1", "answer": "a", "options": "['a', open('x')]"},
        {"q": "? 2", "answer": "a", "options": 3},
        {"q": "? 3", "answer": "a"},
        {"q": "? 4", "options": ["a", "b"]},
    ]
    result = build(tmp_path, records, {"keys": ["options"]})
    assert len(result.pairs) == 1
    assert reasons(result) == {
        "'options' is not a list of options": 2,
        "'options' is not a list that can be read": 1,
        "no key 'answer'": 1,
    }
    path = [{"q": "? 0", "answer": "a | b | c", "one": ["a"], "two": ["b"]}]
    result = build(tmp_path, path, {"keys": ["one", "two"], "separator": "|"})
    assert reasons(result) == {"the right answer has not 2 levels": 1}
