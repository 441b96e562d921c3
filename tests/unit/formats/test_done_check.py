"""Work is complete when it was made from the same things and everything that was written is still there."""

import json
import logging
from pathlib import Path

import pytest

from megatron_redone.errors import UserError
from megatron_redone.formats.done_check import Finished, is_complete, read_sealed, write_sealed
from megatron_redone.formats.file_record import record_files


@pytest.fixture
def finished(tmp_path: Path) -> Finished:
    (tmp_path / "a").write_text("content")
    records = record_files(tmp_path, [tmp_path / "a"])
    return Finished("1234", {tmp_path / name: record for name, record in records.items()}, tmp_path / "manifest.json")


def check(finished: Finished | None, work: str = "1234", overwrite: bool = False) -> bool:
    return is_complete(finished, work, overwrite=overwrite, place="data/a")


def test_the_same_work_with_whole_files_is_complete(finished: Finished, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert check(finished) and "complete already" in caplog.text
    assert not check(None)
    assert not check(finished, overwrite=True) and not check(finished, "other", overwrite=True)


def test_damage_is_named_and_the_work_done_again(finished: Finished, caplog: pytest.LogCaptureFixture) -> None:
    (path,) = finished.files
    path.write_text("c0ntent")
    assert not check(finished) and str(path) in caplog.text and "done again" in caplog.text
    path.unlink()
    assert not check(finished)


def test_other_work_is_not_replaced_unasked(finished: Finished) -> None:
    with pytest.raises(UserError, match=r"other input or settings.*overwrite=true"):
        check(finished, "other")


def test_a_manifest_knows_when_it_was_changed(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    write_sealed(path, {"work": "1", "counts": {"b": 1, "a": (1, 2)}, "é": 0.1})
    content, is_intact = read_sealed(path)
    assert content is not None and content["counts"] == {"b": 1, "a": [1, 2]} and is_intact
    path.write_text(path.read_text().replace('"b": 1', '"b": 2'))
    assert read_sealed(path)[1] is False
    path.write_text(json.dumps({"work": "1"}))  # of an earlier version
    assert read_sealed(path) == ({"work": "1"}, True)
    path.write_text("[" * 100_000)
    assert read_sealed(path) == (None, False)


def test_a_damaged_manifest_of_the_same_work_is_written_again(finished: Finished) -> None:
    damaged = Finished(finished.work, finished.files, finished.manifest, is_intact=False)
    assert not check(damaged)
    with pytest.raises(UserError, match="damaged"):
        check(damaged, "other")
