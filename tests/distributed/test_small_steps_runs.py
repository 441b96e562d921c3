"""Runs of tools/small_steps: the fp32 run that shows drift begins where the main weights of a bf16 run do."""

from pathlib import Path

import pytest
import torch

from megatron_redone.config.model import Precision
from megatron_redone.config.optimizer import OptimizerConfig
from megatron_redone.models.build import Model
from megatron_redone.objectives.language_modelling import LanguageModelling
from tests.helpers import hf_folders
from tests.helpers.ranks import run_on_ranks
from tools.small_steps import ours

pytestmark = pytest.mark.distributed

SEED = 3


def begin(folder: Path) -> tuple[ours.Trained, ours.Trained]:
    """A dithered run in bf16 and a run in fp32 of the same seed, before their first steps."""
    context = ours.start()
    in_bf16, in_fp32 = (ours.load(folder, precision, context) for precision in (Precision.bf16, Precision.fp32))
    ours.begin_dithered(in_fp32, SEED)
    dithered = ours.optimizer_config(1e-4, dither_main_weights=True)
    plain = ours.optimizer_config(1e-4)
    return _no_steps(in_bf16, dithered), _no_steps(in_fp32, plain)


def _no_steps(model: Model, config: OptimizerConfig) -> ours.Trained:
    return ours.train(model, LanguageModelling(model.row_placer), [], ours.WARMUP, config, SEED)


def test_a_dithered_run_in_fp32_begins_with_the_main_weights_of_one_in_bf16(tmp_path: Path) -> None:
    hf_folders.write(tmp_path / "hf", "qwen2_tied", torch.bfloat16)
    [(in_bf16, in_fp32)] = run_on_ranks(1, begin, tmp_path / "hf")
    assert in_fp32.main.keys() == in_bf16.main.keys()
    for name, weight in in_fp32.main.items():
        assert torch.equal(weight, in_bf16.main[name]), name
        assert torch.equal(weight.bfloat16(), in_bf16.model[name]), name
    moved = [bool((weight != weight.bfloat16()).any()) for weight in in_fp32.main.values()]
    assert sum(moved) > len(moved) / 2, "zeros alone stay"
