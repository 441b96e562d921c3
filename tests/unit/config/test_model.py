"""Settings of a model that contradict each other are refused before anything starts."""

import pytest

from megatron_redone.config.fp8 import Fp8Config, Fp8Recipe
from megatron_redone.config.loader import load_config
from megatron_redone.config.model import Backend, ModelConfig, Precision, check_plain
from megatron_redone.errors import UserError

DELAYED, MXFP8 = Fp8Recipe.delayed, Fp8Recipe.mxfp8


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["hf_config=x", "recompute=selective", "recompute_modules=[mpl]"], "'mpl' is not one of"),
        (["hf_config=x", "recompute_num_layers=2"], "counts for recompute=full only"),
        (["recompute=selective", "recompute_modules=[]"], "the list is empty"),
    ],
)
def test_contradictions_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config(ModelConfig, None, overrides)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"precision": Precision.fp8, "backend": Backend.torch}, "needs backend=transformer_engine"),
        ({"precision": Precision.fp8_emulated, "backend": Backend.transformer_engine}, "needs backend=torch"),
        ({"precision": Precision.fp8_emulated, "fp8": Fp8Config(recipe=MXFP8)}, "not emulated"),
        ({"precision": Precision.bf16, "fp8": Fp8Config(recipe=DELAYED)}, "precision=fp8"),
        ({"precision": Precision.fp8_emulated, "fp8": Fp8Config(fp8_param_gather=True)}, "needs precision=fp8"),
    ],
)
def test_what_does_not_go_together(keys: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        ModelConfig(**keys)


@pytest.mark.parametrize("precision", Precision)
def test_fp8_and_auto_are_for_training_only(precision: Precision) -> None:
    assert precision.is_fp8 == precision.value.startswith("fp8")
    if precision.is_fp8 or precision is Precision.auto:
        with pytest.raises(UserError, match=f"{precision.value} is for training"):
            check_plain(precision)
    else:
        check_plain(precision)
