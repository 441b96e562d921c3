"""The types of written weights are those that torch and Hugging Face's config.json call so."""

import pytest
import torch
from transformers import PretrainedConfig

from megatron_redone.config.weights_dtype import WeightsDtype


@pytest.mark.parametrize(
    ("dtype", "bits", "greatest"),
    [(WeightsDtype.fp32, 32, 3.4e38), (WeightsDtype.bf16, 16, 3.4e38), (WeightsDtype.fp16, 16, 65504)],
)
def test_every_type_is_one_of_torch_and_is_read_back_from_config_json(
    dtype: WeightsDtype, bits: int, greatest: float
) -> None:
    expected = getattr(torch, dtype.value)
    assert PretrainedConfig.from_dict({"dtype": dtype.value}).dtype == expected
    info = torch.finfo(expected)
    assert info.bits == bits and info.max == pytest.approx(greatest, rel=0.01)


def test_only_keep_is_no_type() -> None:
    assert [dtype for dtype in WeightsDtype if not hasattr(torch, dtype.value)] == [WeightsDtype.keep]
