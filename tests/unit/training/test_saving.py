"""When a run saves, and that a checkpoint which cannot be written leaves the others as they are."""

import errno
import threading
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from megatron_redone.checkpoint.folder import CheckpointFolder
from megatron_redone.checkpoint.rank_part import GivenUpError, RankState
from megatron_redone.checkpoint.record import TrainState, write_record
from megatron_redone.config.checkpoint import CheckpointConfig, OnDamage, OnSaveError
from megatron_redone.config.model import Precision
from megatron_redone.errors import DamageError, UserError
from megatron_redone.training import saving
from megatron_redone.training.run_inputs import recorded_precision
from megatron_redone.training.saving import Saver, resume, whole_checkpoint
from tests.helpers import one_process


@pytest.fixture(autouse=True)
def _no_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint of this test has its record alone."""
    monkeypatch.setattr(saving, "full_state", lambda *_: RankState(values=[]))


def saver(folder: Path, write: Any = None, **keys: Any) -> Saver:
    nothing: Any = SimpleNamespace(paused=nullcontext)
    return Saver(
        config=CheckpointConfig(**keys),
        folder=CheckpointFolder(folder),
        model_chunks=[],
        optimizer=nothing,
        write_record=write or (lambda path, state: write_record(path, "", state, {})),
        context=one_process.context(),
        throughput=nothing,
    )


def steps(folder: Path) -> list[int]:
    return CheckpointFolder(folder).steps()


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"save_every": 2, "keep_last": None}, [2, 4, 6, 7]),
        ({"save_every": None, "keep_last": None}, [7]),
        ({"save_every": 1, "keep_last": 2}, [6, 7]),
        ({"save_every": 1, "keep_last": 1, "keep_every": 3}, [3, 6, 7]),
    ],
)
def test_what_is_saved_and_what_stays(tmp_path: Path, keys: dict[str, Any], expected: list[int]) -> None:
    ours = saver(tmp_path / "ck", **keys)
    for step in range(1, 8):
        ours.after_step(one_process.finished(step, is_last=step == 7))
    assert steps(tmp_path / "ck") == expected
    assert ours.folder.latest() == tmp_path / "ck" / "step-00000007"


def test_a_run_that_went_back_goes_on_from_what_it_saved_last(tmp_path: Path) -> None:
    """A name is written into `latest` by hand, and later checkpoints are there still."""
    first = saver(tmp_path, save_every=4, keep_last=2, keep_every=8)
    for step in range(1, 21):
        first.after_step(one_process.finished(step))
    assert steps(tmp_path) == [8, 16, 20]
    (tmp_path / "latest").write_text("step-00000008\n")
    again = saver(tmp_path, save_every=4, keep_last=2, keep_every=8)
    again.after_step(one_process.finished(12))
    assert again.folder.latest() == tmp_path / "step-00000012" and steps(tmp_path) == [8, 12, 16, 20]


def test_the_best_stays_and_is_saved_where_it_was_not(tmp_path: Path) -> None:
    ours = saver(tmp_path / "ck", save_every=None, keep_last=1)
    ours.save_as_best(TrainState(step=3), "validation/a/loss", 1.25)
    for step in (5, 6):
        ours.save(TrainState(step=step))
    assert steps(tmp_path / "ck") == [3, 6] and ours.folder.best() == tmp_path / "ck" / "step-00000003"


def test_a_checkpoint_of_before_a_run_went_back_is_not_its_best(tmp_path: Path) -> None:
    ours = saver(tmp_path, save_every=None)
    (tmp_path / "step-00000005").mkdir()
    (tmp_path / "step-00000005/of_other_weights").touch()
    ours.save_as_best(TrainState(step=5), "validation/a/loss", 1.25)
    assert ours.folder.best() == tmp_path / "step-00000005"
    assert not (tmp_path / "step-00000005/of_other_weights").exists()


@pytest.mark.parametrize("on_damage", list(OnDamage))
def test_the_recorded_precision_is_of_the_newest_whole_checkpoint(tmp_path: Path, on_damage: OnDamage) -> None:
    def write(path: Path, state: TrainState) -> None:
        write_record(path, "model: {precision: bf16}\n", state, {})

    ours = saver(tmp_path, write, save_every=1)
    for step in (1, 2):
        ours.after_step(one_process.finished(step))
    config: Any = SimpleNamespace(checkpoint=SimpleNamespace(save_dir=str(tmp_path), on_damage=on_damage))
    assert recorded_precision(config) is Precision.bf16
    (tmp_path / "step-00000002/run/config.yaml").unlink()
    if on_damage is OnDamage.stop:
        with pytest.raises(DamageError):
            recorded_precision(config)
    else:
        assert recorded_precision(config) is Precision.bf16


def full_at(step: int) -> Any:
    """Writes the record of every step but one."""

    def write(path: Path, state: TrainState) -> None:
        if state.step == step:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_record(path, "", state, {})

    return write


@pytest.mark.parametrize("async_save", [False, True])
def test_a_full_disk_is_told_and_leaves_the_checkpoints_before(tmp_path: Path, async_save: bool) -> None:
    ours = saver(tmp_path, full_at(2), save_every=1, on_save_error=OnSaveError["stop"], async_save=async_save)
    ours.after_step(one_process.finished(1))
    with pytest.raises(UserError, match=r"step-00000002: .* could not be written \(no space is left on the disk"):
        for step in (2, 3):
            ours.after_step(one_process.finished(step))
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["step-00000001"]


@pytest.mark.parametrize("async_save", [False, True])
def test_a_run_goes_on_without_a_checkpoint_that_fails(
    tmp_path: Path, async_save: bool, caplog: pytest.LogCaptureFixture
) -> None:
    ours = saver(tmp_path, full_at(2), save_every=1, async_save=async_save)
    for step in (1, 2, 3):
        ours.after_step(one_process.finished(step, is_last=step == 3))
    assert steps(tmp_path) == [1, 3] and ours.folder.latest() == tmp_path / "step-00000003"
    assert caplog.text.count("could not be written (no space is left on the disk; rank 0); the run goes on") == 1
    with pytest.raises(UserError, match="no space is left on the disk"):
        saver(tmp_path, full_at(5)).after_step(one_process.finished(5, is_last=True))


def test_what_is_best_among_saves_in_flight_and_those_that_fail(tmp_path: Path) -> None:
    metric = "validation/a/loss"
    ours = saver(tmp_path, full_at(4), save_every=2, keep_last=1, async_save=True, best_metric=metric)
    ours.after_step(one_process.finished(2))
    ours.save_as_best(TrainState(step=2), metric, 1.25)
    assert ours.best == 1.25 and ours.folder.best() is None
    ours.after_step(one_process.finished(4))
    assert ours.folder.best() == tmp_path / "step-00000002"
    ours.save_as_best(TrainState(step=4), metric, 1.0)
    assert ours.best == 1.0
    ours.finish()
    ours.save_as_best(TrainState(step=4), metric, 1.0)  # is not tried again within the step
    assert ours.best == 1.25
    ours.after_step(one_process.finished(6, is_last=True))
    assert steps(tmp_path) == [2, 6]
    assert saver(tmp_path, best_metric=metric).best == 1.25


def test_a_save_in_flight_is_committed_before_an_error_ends_the_run(tmp_path: Path) -> None:
    ours = saver(tmp_path, save_every=1, async_save=True)
    with pytest.raises(UserError, match="damaged"), ours.finished_before_the_end():
        ours.after_step(one_process.finished(1))
        raise UserError("x.bin: damaged")
    assert steps(tmp_path) == [1]


def test_nothing_is_written_beside_a_save_that_hangs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    goes_on = threading.Event()

    def hang(path: Path, state: TrainState) -> None:
        assert state.step != 1 or goes_on.wait(30)
        write_record(path, "", state, {})

    ours = saver(tmp_path, hang, save_every=1, async_save=True, save_timeout_minutes=0.2 / 60)
    for step in (1, 2, 3):
        ours.after_step(one_process.finished(step))
    assert steps(tmp_path) == [] and "step-00000001: the checkpoint could not be written (it was not" in caplog.text
    assert caplog.text.count("that of step 1 still hangs") == 2
    goes_on.set()
    with pytest.raises(GivenUpError):
        ours._stuck.save._work.result()  # type: ignore[union-attr]
    ours.after_step(one_process.finished(4, is_last=True))
    assert steps(tmp_path) == [4] and not list(tmp_path.glob("*.partial"))


def damage(checkpoint: Path, name: str = "run/config.yaml") -> None:
    (checkpoint / name).write_bytes(b"damaged")


def three(folder: Path) -> CheckpointFolder:
    """Checkpoints of steps 1, 2 and 3."""
    ours = saver(folder, keep_last=None)
    for step in (1, 2, 3):
        ours.save(TrainState(step=step))
    return ours.folder


def test_the_newest_whole_checkpoint_stands_for_a_damaged_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = three(tmp_path)
    newest = folder.latest()
    assert newest is not None and whole_checkpoint(newest, folder, OnDamage.previous) == newest
    for step in (3, 2):
        damage(folder.of_step(step))
    with caplog.at_level("WARNING"):
        assert whole_checkpoint(newest, folder, OnDamage.previous) == folder.of_step(1)
    assert caplog.text.count("run/config.yaml: damaged") == 2 and "going on from step-00000001 instead" in caplog.text
    with pytest.raises(UserError, match=r"step-00000003/run/config\.yaml: damaged .*on_damage=previous"):
        whole_checkpoint(newest, folder, OnDamage.stop)
    damage(folder.of_step(1))
    with pytest.raises(UserError, match=r"step-00000001/run/config\.yaml: damaged .*there is none before it"):
        whole_checkpoint(newest, folder, OnDamage.previous)
    assert whole_checkpoint(None, folder, OnDamage.previous) is None


def test_damage_that_is_found_while_tensors_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, nothing = three(tmp_path), SimpleNamespace()
    read: list[str] = []

    def load(chunks: Any, optimizer: Any, checkpoint: Path) -> None:
        read.append(checkpoint.name)
        if checkpoint.name != "step-00000001":
            raise DamageError(f"{checkpoint}/__0_0.distcp: damaged")

    monkeypatch.setattr(saving, "load_full", load)
    found = resume(folder.of_step(3), folder, OnDamage.previous, [], nothing)  # type: ignore[arg-type]
    assert found.step == 1 and read == ["step-00000003", "step-00000002", "step-00000001"]
    with pytest.raises(UserError, match=r"__0_0\.distcp: damaged \(checkpoint\.on_damage=previous"):
        resume(folder.of_step(3), folder, OnDamage.stop, [], nothing)  # type: ignore[arg-type]
