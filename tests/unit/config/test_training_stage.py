"""What the three stages that train have in common, and what each asks for besides."""

from typing import Any

import pytest

from megatron_redone.config.loader import load_config
from megatron_redone.config.schema import files_read, files_written
from megatron_redone.config.stage_table import STAGES
from megatron_redone.errors import UserError

TRAINING = ["pretrain", "sft", "dpo"]
KEYS = [
    *["output_dir=runs/a", "data.blend=[{path: tokens/a}]", "data.seq_length=8"],
    *["training.global_batch_size=1", "training.train_steps=1"],
]


def load(stage: str, *overrides: str) -> Any:
    return load_config(STAGES[stage].config_class(), None, [*KEYS, *overrides])


@pytest.mark.parametrize("stage", TRAINING)
def test_where_the_weights_come_from_must_be_said(stage: str) -> None:
    with pytest.raises(UserError, match=r"model\.hf_config: name" if stage == "pretrain" else "missing: init_from"):
        load(stage)
    assert load(stage, "init_from=org/model").init_from == "org/model"


def test_pretraining_from_random_weights_needs_an_architecture_only() -> None:
    assert load("pretrain", "model.hf_config=model").init_from is None


@pytest.mark.parametrize("stage", TRAINING)
def test_what_a_run_reads_and_writes(stage: str) -> None:
    config = load(stage, "init_from=org/model", "data.validation=[{path: tokens/v}]", "checkpoint.save_dir=/big/a")
    reads = {(read.path, read.or_hub) for read in files_read(config)}
    assert reads == {("org/model", True), ("tokens/a", False), ("tokens/v", False)}
    assert files_written(config) == ["runs/a", "/big/a"]


@pytest.mark.parametrize(("stage", "allowed"), [("pretrain", True), ("sft", True), ("dpo", False)])
def test_a_batch_of_pairs_is_no_number_of_tokens(stage: str, allowed: bool) -> None:
    keys = ["init_from=m", "training.train_steps=null", "training.train_tokens=100"]
    if allowed:
        assert load(stage, *keys).training.train_tokens == 100
        return
    with pytest.raises(UserError, match=r"^training\.train_tokens: a batch is a number of pairs"):
        load(stage, *keys)
