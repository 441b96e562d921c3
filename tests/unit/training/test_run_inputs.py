"""A run is not resumed with another model or over other data, unless a person says so."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from megatron_redone.architectures import read_architecture
from megatron_redone.checkpoint.record import TrainState, write_record
from megatron_redone.config.checkpoint import CheckpointConfig
from megatron_redone.config.data import BlendSource, DataConfig
from megatron_redone.config.loader import to_yaml
from megatron_redone.config.model import ModelConfig
from megatron_redone.config.parallel import ParallelConfig
from megatron_redone.config.pretrain import PretrainConfig
from megatron_redone.config.training import TrainingConfig
from megatron_redone.errors import UserError
from megatron_redone.training.run_inputs import check_resumable, checkpoints_path, read_inputs
from tests.helpers import hf_models


def config(**keys: Any) -> PretrainConfig:
    return PretrainConfig(
        **{
            "output_dir": "run",
            "model": ModelConfig(hf_config="none"),
            "data": DataConfig(blend=[BlendSource(path="a")], seq_length=64),
            "training": TrainingConfig(train_steps=5, global_batch_size=4),
            **keys,
        }
    )


def inputs(folder: Path, identity: dict[str, Any], **changes: Any) -> Any:
    """What is read for a run of a small model; the checkpoint's own architecture where nothing changes."""
    folder.mkdir(exist_ok=True)
    hf_models.hf_config("qwen3", **changes).save_pretrained(folder)
    return SimpleNamespace(architecture=read_architecture(folder), data=SimpleNamespace(identity=identity))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    hf_models.hf_config("qwen3").save_pretrained(tmp_path / "hf")
    state = TrainState(step=2, data={"seed": 1, "blend": ["a"]})
    files = {"config.json": tmp_path / "hf" / "config.json"}
    write_record(tmp_path / "ck", to_yaml(config()), state, files)
    return tmp_path / "ck"


SAME = {"seed": 1, "blend": ["a"]}


def test_the_same_run_goes_on_and_changed_keys_are_told(
    checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        check_resumable(config(), inputs(tmp_path / "now", SAME), checkpoint)
        assert caplog.text == ""
        longer = TrainingConfig(train_steps=9, global_batch_size=4)
        check_resumable(config(training=longer), inputs(tmp_path / "now", SAME), checkpoint)
    assert "changed since the checkpoint: training.train_steps 5 -> 9" in caplog.text


def test_another_model_is_refused_and_another_layout_taken(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"of another architecture \(num_hidden_layers 4 -> 3\)"):
        check_resumable(config(), inputs(tmp_path / "now", SAME, num_hidden_layers=3), checkpoint)
    check_resumable(config(), inputs(tmp_path / "now", SAME, max_position_embeddings=512), checkpoint)
    plain = config(parallel=ParallelConfig(use_distributed_optimizer=False))
    check_resumable(plain, inputs(tmp_path / "now", SAME), checkpoint)


def test_other_data_is_refused_unless_accepted(
    checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = inputs(tmp_path / "now", {"seed": 2, "blend": ["a"]})
    with pytest.raises(UserError, match=r"data changed since: seed 1 -> 2; restore it, or set .*accept_changed_data"):
        check_resumable(config(), now, checkpoint)
    check_resumable(config(checkpoint=CheckpointConfig(accept_changed_data=True)), now, checkpoint)
    assert "data changed since: seed 1 -> 2" in caplog.text


def test_checkpoints_lie_in_the_run_or_where_they_are_told_to() -> None:
    assert checkpoints_path(config()) == Path("run/checkpoints")
    assert checkpoints_path(config(checkpoint=CheckpointConfig(save_dir="other"))) == Path("other")


@pytest.mark.parametrize(("seq_length", "told"), [(256, False), (257, True)])
def test_rows_longer_than_the_model_knows_are_told(
    seq_length: int, told: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hf_models.hf_config("qwen3").save_pretrained(tmp_path / "hf")

    def stop(*_: Any) -> Any:
        raise UserError("here the data would be opened")

    long = config(
        model=ModelConfig(hf_config=str(tmp_path / "hf")),
        data=DataConfig(blend=[BlendSource(path="a")], seq_length=seq_length),
        output_dir=str(tmp_path / "run"),
    )
    context: Any = SimpleNamespace(data_size=1, data_rank=0)
    with caplog.at_level(logging.WARNING), pytest.raises(UserError, match="here the data"):
        read_inputs(long, context, stop)
    warned = "data.seq_length: 257 exceeds the model's max_position_embeddings 256" in caplog.text
    assert warned == told
