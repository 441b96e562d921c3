"""Pairs as files: what our own reader of preferences makes of them, and whether they are still as they were."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from megatron_redone.config.build_preferences import AnnotatedConfig
from megatron_redone.config.prepare_preferences import PreferenceFormat, PreferenceSource
from megatron_redone.curation.pair_building.annotated import build_annotated
from megatron_redone.curation.pair_building.pair_files import (
    EntryFiles,
    finished_entry,
    log_result,
    write_no_pairs,
    write_result,
)
from megatron_redone.curation.pair_formats.records import read_pair, recognise
from megatron_redone.formats.done_check import is_complete
from tests.helpers.preference_sources import entry, write_lines

RECORDS = [
    {"id": 0, "q": "海边?", "a": "yes\nof course", "b": "no", "ann": 1},
    {"id": 1, "q": "x?", "a": "A", "b": "B", "ann": 0},
    {"id": 2, "q": "y?", "a": "A", "b": "BBB", "ann": 2},
    "{",
]


def written(tmp_path: Path, records: list[Any] = RECORDS) -> tuple[EntryFiles, dict[str, Any], Any]:
    values = {
        "name": "people",
        "source": {"input": [write_lines(tmp_path / "records.jsonl", records)], "prompt": "{q}", "id_key": "id"},
        "responses": ["a", "b"],
        "labels": {"annotators": ["ann"]},
    }
    config = entry(AnnotatedConfig, tmp_path, values)
    result, files = build_annotated(config), EntryFiles(tmp_path, "people")
    write_no_pairs(files, result)
    return files, write_result(files, config, result, "work"), result


def test_the_next_stage_reads_the_pairs_as_they_were_built(tmp_path: Path) -> None:
    files, _, result = written(tmp_path)
    source = PreferenceSource(input=["x"], name="x")
    lines = [json.loads(line) for line in files.pairs.read_text(encoding="utf-8").splitlines()]
    for line, made in zip(lines, result.pairs, strict=True):
        assert recognise(line, source) is PreferenceFormat.trl
        pair = read_pair(line, PreferenceFormat.trl, source)
        assert (pair.prompt, pair.rewards) == (made.record.messages, (made.chosen_reward, made.rejected_reward))
        assert (pair.chosen[0]["content"], pair.rejected[0]["content"]) == (made.chosen, made.rejected)
    assert lines[0]["provenance"]["strategy"] == "annotated" and lines[0]["provenance"]["record"] == "0"


def test_the_summary_counts_every_record(tmp_path: Path) -> None:
    files, summary, _ = written(tmp_path)
    counts = summary["counts"]
    assert (counts["records"], counts["pairs"], counts["no_pairs"], counts["invalid"]) == (4, 2, 2, 1)
    assert counts["mean_characters_chosen"] == (len("yes\nof course") + len("BBB")) / 2
    assert summary["no_pair_by_reason"] == {"malformed JSON": 1, "a tie": 1}
    no_pairs = [json.loads(line) for line in files.no_pairs.read_text().splitlines()]
    assert [(one["reason"], one["invalid"]) for one in no_pairs] == [("malformed JSON", True), ("a tie", False)]


@pytest.mark.parametrize("name", ["pairs", "no_pairs", "summary"])
def test_an_entry_is_complete_as_long_as_its_files_are_as_they_were(tmp_path: Path, name: str) -> None:
    files, _, _ = written(tmp_path)
    assert is_complete(finished_entry(files), "work", overwrite=False, place="x")
    path: Path = getattr(files, name)
    changed = path.read_text(encoding="utf-8").replace("1", "3", 1)
    path.write_text(changed, encoding="utf-8")
    assert not is_complete(finished_entry(files), "work", overwrite=False, place="x")
    path.unlink()
    assert not is_complete(finished_entry(files), "work", overwrite=False, place="x")


def test_reasons_of_an_earlier_run_do_not_stay(tmp_path: Path) -> None:
    files, _, _ = written(tmp_path)
    assert files.no_pairs.exists()
    written(tmp_path, RECORDS[:1])
    assert not files.no_pairs.exists() and len(files.pairs.read_text().splitlines()) == 1


def test_what_is_logged_is_one_line_an_item(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, summary, result = written(tmp_path)
    with caplog.at_level(logging.INFO):
        log_result(summary, result.pairs[:1])
    assert "people (annotated): 4 records, 2 pairs, 2 times no pair" in caplog.messages[0]
    assert any("yes of course" in message for message in caplog.messages)
    assert not any("\n" in message for message in caplog.messages)
