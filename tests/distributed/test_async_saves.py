"""Runs that save while they train: the same checkpoints; disks that are full, and files that cannot be written."""

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest

from megatron_redone.checkpoint.checksums import read_checksums
from megatron_redone.checkpoint.folder import CheckpointFolder
from megatron_redone.training.loop import FinishedStep
from megatron_redone.training.saving import Saver
from tests.helpers.pretrain_runs import figures, pretrain, write_inputs, write_model
from tests.helpers.ranks import run_on_ranks

pytestmark = pytest.mark.distributed


def folder_of(output: Path) -> CheckpointFolder:
    return CheckpointFolder(output / "checkpoints")


def tensor_files(checkpoint: Path) -> dict[str, list]:
    """The checksums of the files with tensors, without the objects that have no fixed bytes."""
    return {name: found for name, found in read_checksums(checkpoint).files.items() if name.endswith(".distcp")}


def test_what_is_saved_beside_training_is_what_is_saved_when_it_waits(tmp_path: Path) -> None:
    """At every step, of ranks that share the optimizer's state; resumed from the middle, bit by bit."""
    keys = [*write_inputs(tmp_path), "checkpoint.save_every=1", "training.train_steps=6"]
    sides = {"waits": "checkpoint.async_save=false", "beside": "checkpoint.async_save=true"}
    for name, key in sides.items():
        assert {code for code, _ in run_on_ranks(2, pretrain, [*keys, key, f"output_dir={tmp_path / name}"])} == {0}
    waits, beside = (folder_of(tmp_path / name) for name in sides)
    assert waits.steps() == beside.steps() == list(range(1, 7))
    for step in waits.steps():
        assert tensor_files(waits.of_step(step)) == tensor_files(beside.of_step(step)), step
        read_checksums(beside.of_step(step)).check_all()
    for step in range(4, 7):
        shutil.rmtree(beside.of_step(step))
    assert run_on_ranks(2, pretrain, [*keys, sides["beside"], f"output_dir={tmp_path / 'beside'}"])[0][0] == 0
    assert tensor_files(waits.of_step(6)) == tensor_files(beside.of_step(6))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 30 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=30m", "none", str(place)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def larger_inputs(folder: Path) -> list[str]:
    """Those of a run whose files are larger than the limit, and of which the disk holds two but not three."""
    keys = write_inputs(folder)
    write_model(folder / "model", hidden_size=96, intermediate_size=512)
    return [*keys, "checkpoint.save_every=2", "checkpoint.keep_last=1"]


@pytest.mark.parametrize("async_save", [False, True])
def test_a_run_goes_on_where_disks_fail_and_saves_again(tmp_path: Path, small_disk: Path, async_save: bool) -> None:
    output = small_disk / "run"
    keys = [*larger_inputs(tmp_path), f"output_dir={output}", f"checkpoint.async_save={async_save}"]
    actions = {3: "fill", 5: "free", 7: "limit", 9: "lift", 11: "vanish"}
    results = run_on_ranks(2, run_with_failures, [*keys, "training.train_steps=14"], output, actions)
    assert [code for code, _ in results] == [0, 0], results[0][1]
    told = results[0][1]
    assert "step-00000004: the checkpoint could not be written (no space is left on the disk; rank" in told
    assert "step-00000008: the checkpoint could not be written (File too large; rank 1); the run goes on" in told
    assert 2 <= told.count("could not be written") <= 2 + async_save, told  # one may be in flight as the folder goes
    assert folder_of(output).steps() == [14] and not list((output / "checkpoints").glob("*.*"))
    assert len(figures(output)) == 14
    read_checksums(folder_of(output).of_step(14)).check_all()
    shutil.rmtree(output)
    assert shutil.disk_usage(small_disk).used == 0


@pytest.mark.parametrize("async_save", [False, True])
def test_a_run_that_is_to_stop_ends_on_all_ranks_and_goes_on_later(tmp_path: Path, async_save: bool) -> None:
    output = tmp_path / "run"
    keys = [*larger_inputs(tmp_path), f"output_dir={output}", f"checkpoint.async_save={async_save}"]
    results = run_on_ranks(2, run_with_failures, [*keys, "checkpoint.on_save_error=stop"], output, {3: "limit"})
    assert [code for code, _ in results] == [2, 2]
    assert "redone: " in results[0][1] and "step-00000004: the checkpoint could not be written" in results[0][1]
    assert "Traceback" not in results[0][1] and folder_of(output).steps() == [2]
    assert not list((output / "checkpoints").glob("*.*"))
    again = run_on_ranks(2, run_with_failures, keys, output, {3: "lift"})
    assert [code for code, _ in again] == [0, 0] and folder_of(output).steps() == [10]


def run_with_failures(keys: list[str], output: Path, actions: dict[int, str]) -> tuple[int | str | None, str]:
    """`redone pretrain` on this rank; after some steps something happens to its disk."""
    own_rank, original = int(os.environ["RANK"]), Saver.after_step

    def after_step(saver: Saver, step: FinishedStep) -> None:
        rank, act = _ACTIONS.get(actions.get(step.state.step, ""), (-1, None))
        if act is not None and own_rank == rank:
            act(output)
        original(saver, step)

    with mock.patch.object(Saver, "after_step", after_step):
        return pretrain(keys)


def _fill(output: Path) -> None:
    size = shutil.disk_usage(output.parent).free - (6 << 20)
    (output.parent / "filler").write_bytes(bytes(size))


_ACTIONS: dict[str, tuple[int, Callable[[Path], None]]] = {
    "fill": (0, _fill),
    "free": (0, lambda output: (output.parent / "filler").unlink()),
    "limit": (1, lambda _: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, -1))),  # writing more fails with EFBIG
    "lift": (1, lambda _: resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))),
    "vanish": (0, lambda output: shutil.rmtree(output / "checkpoints", ignore_errors=True)),
}
"""By their names: the rank that does it, and what."""
