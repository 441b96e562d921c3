"""What `init_from` may name: a checkpoint, a run, its best, a model's directory."""

from pathlib import Path

import pytest

from megatron_redone.checkpoint.checksums import write_checksums
from megatron_redone.checkpoint.folder import CheckpointFolder
from megatron_redone.checkpoint.record import TrainState, write_record
from megatron_redone.errors import UserError
from megatron_redone.training.initial_weights import find_initial_weights
from tests.helpers import hf_models


def save(folder: CheckpointFolder, step: int) -> Path:
    folder.begin(step)
    partial = folder.partial(step)
    (partial / ".metadata").write_bytes(b"")
    config = folder.path.parent / "config.json"
    config.write_text("{}")
    write_record(partial, "", TrainState(step=step), {"config.json": config})
    write_checksums(partial, {})
    return folder.commit(step)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = CheckpointFolder(tmp_path / "run" / "checkpoints")
    folder.path.mkdir(parents=True)
    save(folder, 2)
    save(folder, 4)
    folder.mark_best(2, "validation/a/loss", 1.0)
    return tmp_path / "run"


def test_a_run_stands_for_its_newest_checkpoint_or_its_best(run: Path) -> None:
    newest, best = (run / "checkpoints" / name for name in ("step-00000004", "step-00000002"))
    for name, expected in ((run, newest), (run / "checkpoints", newest), (run / "best", best), (best, best)):
        found = find_initial_weights(str(name))
        assert (found.folder, found.of_run) == (expected, True)
        assert found.config_json.read_text() == "{}" and found.config_json.is_relative_to(expected)


def test_a_run_whose_model_files_are_damaged_is_refused_before_they_are_read(run: Path) -> None:
    (run / "checkpoints" / "step-00000004" / "run" / "hf" / "config.json").write_text("[]")
    with pytest.raises(UserError, match=r"run/hf/config\.json: damaged"):
        find_initial_weights(str(run))


def test_a_directory_with_a_model_is_opened_and_one_that_contradicts_itself_refused(tmp_path: Path) -> None:
    hf_models.hf_model("qwen2_tied", num_hidden_layers=1).save_pretrained(tmp_path)
    found = find_initial_weights(str(tmp_path))
    assert (found.folder, found.of_run, found.config_json) == (tmp_path, False, tmp_path / "config.json")
    assert found.hf is not None and "model.norm.weight" in found.hf.names()
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"adapter_config\.json lies beside the weights"):
        find_initial_weights(str(tmp_path))


def test_everything_else_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"init_from: .*is not the checkpoint of a run.*it has no config\.json"):
        find_initial_weights(str(tmp_path))
    with pytest.raises(UserError, match=r"init_from: .*/none is not .*no such directory"):
        find_initial_weights(str(tmp_path / "none"))
