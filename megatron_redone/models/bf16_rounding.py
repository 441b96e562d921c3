"""What lies between two bf16 values: fp32 values that round to one of them, and rounding by chance.

The upper half of an fp32 value's bits is a bf16 value, and bits in order are values in order. So the fp32 values that
round to a bf16 value b are, in bits, those within half a unit of 65,536 around b's.
"""

import torch

_INFINITY = float("inf")


def dither_(values: torch.Tensor, bits: torch.Tensor) -> None:
    """Moves fp32 values that are bf16 values to random places among those that round to the same bf16 value.

    The bits of a value are moved by an odd number drawn uniformly between -32,767 and 32,767: never onto the tie
    between two bf16 values, and as far up as down on the mean. Uniform is the place in the bits, not the value: the two
    differ at powers of two, where the spacing below is half of that above. In the bits, half of the weights
    lie on either side, twice as dense below as above. A step of main weights that is small beside the spacing then
    carries a share of them over each border that is the step over the spacing there, so that the mean step
    of the bf16 weights equals that of the main weights, in both directions. Uniform in the value it would be 2/3 of the
    step downwards, and 4/3 upwards.

    Norms and biases are moved as matrices are: around 1.0 the spacing is 1/128, and their small steps are lost most.
    Zeros stay, as rows of padding and what was pruned must; so do infinities and NaN.

    Args:
        values: fp32, in place.
        bits: int16 of the same shape, uniform; changed too.
    """
    magnitude = values.abs()
    moves = magnitude.view(torch.int32).clamp(max=1)  # 0 for zeros; comparing would take five times as long
    if not _all_finite(magnitude):
        moves.mul_(magnitude.isfinite())
    values.view(torch.int32).add_(moves.mul_(bits.bitwise_or_(1)))


def round_stochastically(values: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
    """Each value rounded to one of its two bf16 neighbours, to the nearer the more often: the mean is the value.

    Args:
        values: fp32; infinities, NaN and what bf16 can hold stay as they are.
        bits: int16 of the same shape, uniform.

    Returns:
        bf16 of the same shape.
    """
    raised = values.view(torch.int32) + bits  # from -32,768 to 32,767
    rounded = raised.add_(1 << 15).bitwise_right_shift_(16).to(torch.int16).view(torch.bfloat16)
    if _all_finite(values.abs()):
        return rounded
    return torch.where(values.isfinite(), rounded, values.to(torch.bfloat16))


def _all_finite(magnitude: torch.Tensor) -> bool:
    return not magnitude.numel() or bool(magnitude.amax() < _INFINITY)  # the largest of some is NaN if one of them is
