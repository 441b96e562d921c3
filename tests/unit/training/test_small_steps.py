"""Which main weights are dithered, and what is refused."""

import pytest

from megatron_redone.config.bf16_rounding import Bf16Rounding
from megatron_redone.config.fp8 import Fp8Config
from megatron_redone.config.model import ModelConfig, Precision
from megatron_redone.config.optimizer import OptimizerConfig
from megatron_redone.errors import UserError
from megatron_redone.training.small_steps import are_dithered, check_small_steps

FP32 = ModelConfig(precision=Precision.fp32)
BF16 = ModelConfig(precision=Precision.bf16)
FP8_WEIGHTS = ModelConfig(precision=Precision.fp8, fp8=Fp8Config(fp8_param_gather=True))
DITHER = OptimizerConfig(dither_main_weights=True)
STOCHASTIC = OptimizerConfig(bf16_rounding=Bf16Rounding.stochastic)


@pytest.mark.parametrize(
    ("optimizer", "model", "message"),
    [
        (DITHER, FP32, "dither_main_weights: under model.precision=fp32"),
        (STOCHASTIC, FP32, "bf16_rounding: nothing is rounded under model.precision=fp32"),
        (STOCHASTIC, FP8_WEIGHTS, "bf16_rounding: not with model.fp8.fp8_param_gather"),
        (
            OptimizerConfig(bf16_rounding=Bf16Rounding.stochastic, optimizer_offload_fraction=0.5),
            BF16,
            "bf16_rounding: not with optimizer_offload_fraction",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(optimizer: OptimizerConfig, model: ModelConfig, message: str) -> None:
    with pytest.raises(UserError, match=f"optimizer.{message}"):
        check_small_steps(optimizer, model)


@pytest.mark.parametrize("model", [FP32, BF16, FP8_WEIGHTS])
def test_the_defaults_go_with_everything(model: ModelConfig) -> None:
    check_small_steps(OptimizerConfig(), model)
    check_small_steps(OptimizerConfig(optimizer_offload_fraction=0.5, dither_main_weights=True), BF16)


def test_given_weights_that_train_in_bf16_are_dithered() -> None:
    fp8 = ModelConfig(precision=Precision.fp8_emulated)
    found = [are_dithered(OptimizerConfig(), model, given=True) for model in (BF16, fp8, FP8_WEIGHTS, FP32)]
    assert found == [True, True, True, False]
    assert not are_dithered(OptimizerConfig(), BF16, given=False)
    assert are_dithered(DITHER, BF16, given=False)
    assert not are_dithered(OptimizerConfig(dither_main_weights=False), BF16, given=True)
