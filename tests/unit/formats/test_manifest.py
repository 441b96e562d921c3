"""What a manifest says of its dataset, and when its word is not taken."""

import json
from pathlib import Path

import pytest

from megatron_redone.errors import UserError
from megatron_redone.formats.file_record import damage
from megatron_redone.formats.manifest import file_records, finished_dataset, manifest_path, read_manifest
from tests.helpers.masked_data import random_pairs, write_pairs


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    return write_pairs(tmp_path / "pairs.v1", random_pairs(3, 300, seed=2), 300)


def test_every_file_of_a_dataset_is_recorded_as_it_is(prefix: Path) -> None:
    finished = finished_dataset(prefix)
    assert finished is not None and finished.is_intact and finished.manifest == manifest_path(prefix)
    assert set(finished.files) == set(prefix.parent.iterdir()) - {finished.manifest}
    assert damage(finished.files) == []
    victim = next(iter(finished.files))
    victim.write_bytes(b"x" + victim.read_bytes()[1:])
    assert len(damage(finished.files)) == 1


def test_a_manifest_that_was_edited_is_not_intact(prefix: Path) -> None:
    content = json.loads(manifest_path(prefix).read_text())
    content["counts"]["pairs"] = 4
    manifest_path(prefix).write_text(json.dumps(content))
    finished = finished_dataset(prefix)
    assert finished is not None and not finished.is_intact and finished.files == {}
    with pytest.raises(UserError, match=r"manifest\.json: damaged, or changed by hand"):
        read_manifest(prefix)


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "not readable as JSON"), ("[1]", "not a manifest"), ('{"format": "x/9"}', "not a manifest")],
)
def test_another_file_of_that_name_is_refused_in_one_line(text: str, said: str, tmp_path: Path) -> None:
    manifest_path(tmp_path / "a").write_text(text)
    with pytest.raises(UserError, match=said) as caught:
        read_manifest(tmp_path / "a")
    assert "\n" not in str(caught.value)
    finished = finished_dataset(tmp_path / "a")
    assert finished is not None and not finished.is_intact


def test_a_dataset_of_megatron_lm_has_none(tmp_path: Path) -> None:
    assert read_manifest(tmp_path / "a") is None and finished_dataset(tmp_path / "a") is None


def test_manifests_of_earlier_versions_are_read(tmp_path: Path) -> None:
    """They have `rejected` for `invalid`, and their two files at the top."""
    counts = {"records": 3, "rejected": 1, "rejected_by_reason": {"empty line": 1}}
    record = {"size": 1, "sha256": "0"}
    old = {"format": "megatron_redone.tokens/1", "counts": counts, "bin": record, "idx": record}
    manifest_path(tmp_path / "a").write_text(json.dumps(old))
    found = read_manifest(tmp_path / "a")
    assert found is not None and file_records(found) == {"bin": record, "idx": record}
    assert found["counts"] == {"records": 3, "invalid": 1, "invalid_by_reason": {"empty line": 1}}
