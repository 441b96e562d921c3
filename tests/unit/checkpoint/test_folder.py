"""A checkpoint is there whole or not at all, whenever the machine goes down."""

from pathlib import Path

import pytest

from megatron_redone.checkpoint.folder import CheckpointFolder
from megatron_redone.errors import UserError


def save(folder: CheckpointFolder, step: int, text: str = "x") -> Path:
    (folder.begin(step) / "weights").write_text(text)
    return folder.commit(step)


def test_what_is_not_committed_is_not_seen(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoints")
    assert folder.latest() is None and folder.steps() == []
    folder.begin(5)
    assert folder.latest() is None and folder.steps() == []
    assert save(folder, 5) == folder.latest() == folder.of_step(5)
    (folder.begin(6) / "weights").write_text("half")
    assert folder.latest() == folder.of_step(5)
    folder.abandon(6)
    assert sorted(p.name for p in folder.path.iterdir()) == ["latest", "step-00000005"]


def test_a_crash_between_the_rename_and_latest_loses_nothing(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    save(folder, 5)
    save(folder, 10)
    (tmp_path / "latest").unlink()
    assert folder.latest() == folder.of_step(10)
    (tmp_path / "latest").write_text("step-00000099\n")
    assert folder.latest() == folder.of_step(10)


def test_the_same_step_again_replaces_it(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    save(folder, 5, "old")
    assert (save(folder, 5, "new") / "weights").read_text() == "new"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest", "step-00000005"]


@pytest.mark.parametrize(
    ("keep_last", "keep_every", "kept"),
    [(1, None, [9]), (2, 3, [3, 6, 8, 9]), (None, None, list(range(1, 10))), (20, None, list(range(1, 10)))],
)
def test_what_is_kept(tmp_path: Path, keep_last: int | None, keep_every: int | None, kept: list[int]) -> None:
    folder = CheckpointFolder(tmp_path)
    for step in range(1, 10):
        save(folder, step)
    folder.prune(keep_last, keep_every)
    assert folder.steps() == kept


def test_a_run_that_went_back_keeps_what_it_saves(tmp_path: Path) -> None:
    """From step 8 of 20, whose later checkpoints are there still."""
    folder = CheckpointFolder(tmp_path)
    for step in (8, 16, 20):
        save(folder, step)
    (tmp_path / "latest").write_text("step-00000008\n")
    for step, kept in {12: [8, 12, 16, 20], 16: [12, 16, 20], 20: [16, 20]}.items():
        save(folder, step)
        folder.prune(2, None, step)
        assert folder.steps() == kept and folder.latest() == folder.of_step(step)


def test_a_run_that_went_back_forgets_a_later_best(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    for step in (8, 16):
        save(folder, step)
    folder.mark_best(16, "loss", 1.8)
    folder.forget_later_best(16)
    assert folder.best() == folder.of_step(16)
    folder.forget_later_best(8)
    assert folder.best() is None and folder.best_value("loss") is None
    folder.forget_later_best(8)


@pytest.mark.parametrize("best", [1, 3])
def test_the_best_is_kept_besides(tmp_path: Path, best: int) -> None:
    folder = CheckpointFolder(tmp_path)
    for step in range(1, 6):
        save(folder, step)
    folder.mark_best(best, "validation/a/loss", 1.5)
    folder.prune(1, None)
    assert folder.steps() == [best, 5] and folder.best() == folder.of_step(best)
    assert folder.best_value("validation/a/loss") == 1.5 and folder.best_value("validation/b/loss") is None


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"\xff\xfe", b"x" * 5000, b"../elsewhere", b"../../elsewhere", b"/tmp", b".", b"step-5"]
)
def test_a_damaged_latest_stands_for_the_newest_and_leads_nowhere_else(tmp_path: Path, content: bytes) -> None:
    folder = CheckpointFolder(tmp_path / "run" / "checkpoints")
    for step in (5, 10):
        save(folder, step)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run" / "elsewhere").mkdir()
    (folder.path / "latest").write_bytes(content)
    assert folder.latest() == folder.of_step(10)


def test_latest_names_an_older_one_where_it_says_so(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    for step in (5, 10):
        save(folder, step)
    (tmp_path / "latest").write_text("step-00000005\n")
    assert folder.latest() == folder.of_step(5)


@pytest.mark.parametrize(
    "content",
    [b"", b'{"step": 1', b"null", b"[]", b"{}", b'{"step": "1"}', b'{"step": true}', b'{"step": -1}', b"\xff"],
)
def test_a_damaged_best_is_named_before_anything_is_removed(tmp_path: Path, content: bytes) -> None:
    folder = CheckpointFolder(tmp_path)
    for step in (1, 2, 3):
        save(folder, step)
    folder.mark_best(1, "loss", 1.5)
    (tmp_path / "best.json").write_bytes(content)
    for use in (folder.best, folder.clean_up, lambda: folder.best_value("loss"), lambda: folder.prune(1, None)):
        with pytest.raises(UserError, match=r"best\.json: damaged .*remove it"):
            use()
    assert folder.steps() == [1, 2, 3]


def test_a_best_value_that_is_no_number_is_named(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    save(folder, 1)
    folder.mark_best(1, "loss", "low")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="loss is 'low'"):
        folder.best_value("loss")


def test_what_killed_saves_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoints")
    folder.clean_up()  # there is none yet
    save(folder, 5)
    for name in ("step-00000007.partial", "step-00000003.removed", "notes.partial", "step-00000005.copy"):
        (folder.path / name).mkdir()
        (folder.path / name / "weights").write_text("x")
    folder.clean_up()
    assert sorted(p.name for p in folder.path.iterdir()) == [
        *("latest", "notes.partial", "step-00000005", "step-00000005.copy")
    ]


def test_a_name_or_a_best_that_is_not_the_one_written_is_refused(tmp_path: Path) -> None:
    """One flipped bit may name another checkpoint that is there."""
    folder = CheckpointFolder(tmp_path)
    for step in (2, 3):
        folder.begin(step)
        folder.commit(step)
    folder.mark_best(2, "loss", 1.5)
    for name, call in [("latest", folder.latest), ("best.json", folder.best)]:
        text = (tmp_path / name).read_text()
        assert call() is not None
        swapped = text.translate(str.maketrans("23", "32")) if name == "best.json" else text.replace("3", "2", 1)
        (tmp_path / name).write_text(swapped)
        with pytest.raises(UserError, match=rf"/{name}: damaged"):
            call()
    (tmp_path / "latest").write_text("step-00000002\n")  # by hand
    assert folder.latest() == folder.of_step(2)
