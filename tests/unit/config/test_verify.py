"""A comparison of logits is in a plain type, and says how far apart they may be."""

import pytest

from megatron_redone.config.loader import load_config
from megatron_redone.config.verify import VerifyConfig
from megatron_redone.errors import UserError


@pytest.mark.parametrize(
    ("override", "message"),
    [("precision=fp8", "precision: fp8 is for training; take bf16 or fp32 here"),
     ("precision=fp8_emulated", "precision: fp8_emulated is for training; take bf16 or fp32 here"),
     ("precision=auto", "precision: auto is for training; take bf16 or fp32 here"),
     ("validation=true", "validation: compares a run with a model; name its checkpoint, and hf"),
     ("hf=null", "hf, checkpoint: both are null; give the model, or the checkpoint, or both"),
     ("dataset=a", "dataset: is compared alone; leave the others of dataset, export, hf, checkpoint out"),
     ("tolerance=-1", "tolerance: -1.0 is less than 0"), ("tolerance=.nan", "tolerance: nan is not a finite number"),
     ("rows=0", "rows: 0 is less than 1")],
)  # fmt: skip
def test_what_could_not_be_compared_is_refused(override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config(VerifyConfig, None, ["hf=model", override])
    assert str(caught.value) == message


def test_equality_to_the_bit_can_be_asked_for() -> None:
    assert load_config(VerifyConfig, None, ["hf=model", "tolerance=0"]).tolerance == 0
    assert load_config(VerifyConfig, None, ["hf=model"]).tolerance is None
