"""What the fused losses do to the gradient of a token that the model is sure of: megatron-core's, and the emulated
rounding of Transformer Engine's before 2.18 (transformer_engine/common/triton/cross_entropy.py)."""

import pytest
import torch
from megatron.core.fusions import fused_cross_entropy


def logits_of(probability: float) -> torch.Tensor:
    """Four logits of which the first has this probability, fp32 [1, 1, 4]."""
    rest = torch.full((3,), (1 - probability) / 3, dtype=torch.float64)
    return torch.cat([torch.tensor([probability], dtype=torch.float64), rest]).log().float().view(1, 1, 4)


def native(probability: float) -> float:
    """megatron-core's: the whole gradient in fp32, rounded to bf16 at the end."""
    softmax, target = logits_of(probability).softmax(-1), torch.zeros(1, 1, dtype=torch.long)
    mask = torch.zeros(1, 1, dtype=torch.bool)
    gradients = getattr(fused_cross_entropy.calculate_gradients, "_torchdynamo_orig_callable", None)
    assert gradients is not None, "compiled by torch"
    found = gradients(softmax, torch.ones(1, 1), mask, target.view(-1))
    assert found.dtype is torch.bfloat16
    return float(found[0, 0, 0])


def engine(probability: float) -> float:
    """Transformer Engine's: probabilities are stored in the type of the logits, then 1 is taken off the target's."""
    stored = logits_of(probability).softmax(-1).to(torch.bfloat16)
    return float(stored[0, 0, 0] - 1.0)


@pytest.mark.parametrize("probability", [0.5, 0.9, 0.99, 0.997, 0.999, 0.9999])
def test_the_native_loss_keeps_the_gradient_of_sure_tokens(probability: float) -> None:
    assert native(probability) == pytest.approx(probability - 1, rel=2**-8)


@pytest.mark.parametrize(
    ("probability", "expected"), [(0.99, -0.01171875), (0.997, -0.00390625), (0.999, 0.0), (0.9999, 0.0)]
)
def test_the_engines_loses_it(probability: float, expected: float) -> None:
    """The reason why it is no default, and is warned of before the version that mends it."""
    assert engine(probability) == expected
