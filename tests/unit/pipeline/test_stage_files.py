"""Files that stages read and write: which are whose, and when one has changed."""

from pathlib import Path

import pytest

from megatron_redone.config.schema import FileRead
from megatron_redone.pipeline.stage_files import fingerprint, is_elsewhere, is_there, touch


@pytest.mark.parametrize(
    ("read", "written", "expected"),
    [
        ("runs/cpt", "runs/cpt", True),
        ("./runs/cpt/", "runs/cpt", True),
        ("runs/cpt/checkpoints/step-00000010", "runs/cpt", True),
        ("/work/runs/cpt", "runs/cpt", True),
        ("tokens/social", "tokens/social", True),
        ("tokens", "tokens/social", True),
        ("pairs/a", "pairs/a.reference", True),
        ("curated/*.jsonl", "curated", True),
        ("curated/held_out/*/x.jsonl", "curated", True),
        ("runs/cpt", "runs/cpt2", False),
        ("tokens/social_held_out", "tokens/social", False),
        ("s3://bucket/curated/x.jsonl", "curated", False),
    ],
)
def test_what_is_read_meets_what_is_written(read: str, written: str, expected: bool) -> None:
    assert touch(Path("/work"), read, written) is expected


def test_the_best_checkpoint_of_a_run_is_there_where_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    assert not is_there(tmp_path, "run/best")
    (tmp_path / "run/checkpoints/best.json").write_text('{"step": 1}')
    before = fingerprint(tmp_path, "run/best", [])
    assert is_there(tmp_path, "run/best")
    (tmp_path / "run/checkpoints/best.json").write_text('{"step": 20}')
    assert fingerprint(tmp_path, "run/best", []) != before


def test_fingerprints_follow_files_and_not_what_the_pipeline_writes(tmp_path: Path) -> None:
    (tmp_path / "pairs").mkdir()
    for ending in ("bin", "idx"):
        (tmp_path / f"pairs/a.{ending}").write_text("x")
    written = ["pairs/a.reference"]
    before = fingerprint(tmp_path, "pairs/a", written)
    (tmp_path / "pairs/a.reference.npy").write_text("ours")
    assert is_there(tmp_path, "pairs/a") and fingerprint(tmp_path, "pairs/a", written) == before
    assert fingerprint(tmp_path, "pairs/a", []) != before
    (tmp_path / "pairs/a.bin").write_text("xx")
    assert fingerprint(tmp_path, "pairs/a", written) != before
    assert not is_there(tmp_path, "pairs/b")


def test_names_on_the_hub_and_urls_are_none_of_our_files(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    assert is_elsewhere(tmp_path, FileRead("Qwen/Qwen2.5-7B", or_hub=True))
    assert is_elsewhere(tmp_path, FileRead("s3://bucket/x.jsonl"))
    assert not is_elsewhere(tmp_path, FileRead("runs/cpt", or_hub=True))
    assert not is_elsewhere(tmp_path, FileRead("data/posts"))
