"""Results per example come back as they were kept, or not at all."""

from pathlib import Path

import pytest

from megatron_redone.evaluation.results import Part, ResultFolder

PART = Part([{"exact": 1.0, "answer": "海边\nline two"}, {"exact": 0.0, "answer": "\u2028"}], 1.23456)


@pytest.fixture
def folder(tmp_path: Path) -> ResultFolder:
    results = ResultFolder(tmp_path / "results")
    results.write("ours", "conversations.tags", "work", PART)
    return results


def test_results_come_back_as_they_were(folder: ResultFolder) -> None:
    assert folder.read("ours", "conversations.tags", "work") == Part(PART.results, 1.235)


def test_results_of_other_work_models_and_tasks_are_none(folder: ResultFolder) -> None:
    assert folder.read("ours", "conversations.tags", "other work") is None
    assert folder.read("base", "conversations.tags", "work") is None
    assert folder.read("ours", "preferences.tags", "work") is None


@pytest.mark.parametrize(("old", "new"), [("1.0", "0.0"), ("1.0", ""), ("海边", "山边")])
def test_results_that_were_changed_are_computed_again(folder: ResultFolder, old: str, new: str) -> None:
    file = folder.file("ours", "conversations.tags")
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    assert folder.read("ours", "conversations.tags", "work") is None


def test_a_marker_that_was_changed_or_lost_its_file_does_not_count(folder: ResultFolder) -> None:
    marker = folder.file("ours", "conversations.tags").with_suffix(".json")
    whole = marker.read_text()
    marker.write_text(whole.replace("1.235", "0.5"))
    assert folder.read("ours", "conversations.tags", "work") is None
    marker.write_text(whole)
    folder.file("ours", "conversations.tags").unlink()
    assert folder.read("ours", "conversations.tags", "work") is None


def test_new_results_take_the_place_of_old_ones(folder: ResultFolder) -> None:
    folder.write("ours", "conversations.tags", "new work", Part([{"exact": 1.0}], 2.0))
    assert folder.read("ours", "conversations.tags", "work") is None
    assert folder.read("ours", "conversations.tags", "new work") == Part([{"exact": 1.0}], 2.0)
