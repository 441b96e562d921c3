"""torch's own rounding to bf16 is the oracle."""

import math

import pytest
import torch

from megatron_redone.models.bf16_rounding import dither_, round_stochastically

# Every bf16 value there is.
ALL = torch.arange(-(1 << 15), 1 << 15).to(torch.int16).view(torch.bfloat16)


def random_bits(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(-(1 << 15), 1 << 15, shape, dtype=torch.int16, generator=generator)


@pytest.mark.parametrize("bits", [-(1 << 15), -1, 0, (1 << 15) - 1])
def test_what_is_dithered_rounds_to_what_it_was(bits: int) -> None:
    """Every value there is, with the furthest and the nearest moves."""
    moved = ALL.float()
    dither_(moved, torch.full((len(ALL),), bits, dtype=torch.int16))
    assert torch.equal(moved.bfloat16().view(torch.int16)[~ALL.isnan()], ALL.view(torch.int16)[~ALL.isnan()])
    assert moved[ALL.isnan()].isnan().all()
    stays = ALL.isnan() | ALL.isinf() | (ALL == 0)
    assert (moved == ALL.float())[~stays].sum() == 0 and torch.equal(
        moved[stays & ~ALL.isnan()], ALL[stays & ~ALL.isnan()].float()
    )


@pytest.mark.parametrize("value", [1.0, -1.0, 0.0199, -0.0199, 2.0**-10])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_small_step_moves_the_mean_of_bf16_by_itself(value: float, sign: int) -> None:
    """In both directions, at powers of two as well: a step of a twentieth of the spacing above."""
    start = torch.full((400_000,), value).bfloat16()
    main = start.float()
    dither_(main, random_bits(len(main)))
    step = sign * 2.0 ** (math.floor(math.log2(abs(value))) - 7) / 20
    change = ((main + step).bfloat16().double() - start.double()).mean()
    assert float(change) == pytest.approx(step, rel=0.03)


def test_rounding_is_to_a_neighbour_and_right_on_the_mean() -> None:
    values = torch.tensor([1.0 + 2**-9, -1.0 - 2**-9, 1.0 - 2**-10, 0.02, -3e-39, 1e-3]).repeat(200_000, 1)
    rounded = round_stochastically(values, random_bits(*values.shape))
    spacing = torch.tensor([2**-7, 2**-7, 2**-8, 2**-13, 2.0**-133, 2**-17])
    error = (rounded.double() - values.double()) / spacing
    assert error.abs().max() < 1 and error.mean(0).abs().max() < 0.005


def test_what_bf16_can_hold_stays_under_rounding() -> None:
    numbers = ALL[~ALL.isnan()]
    for bits in (-(1 << 15), 0, (1 << 15) - 1):
        rounded = round_stochastically(numbers.float(), torch.full((len(numbers),), bits, dtype=torch.int16))
        assert torch.equal(rounded.view(torch.int16), numbers.view(torch.int16))
    not_a_number = torch.tensor([0x7FFFFFFF, -1, 0x7F800001], dtype=torch.int32).view(torch.float32)
    assert round_stochastically(not_a_number, torch.full((3,), 32767, dtype=torch.int16)).isnan().all()


@pytest.mark.parametrize("sign", [1, -1])
def test_a_small_step_moves_the_mean_of_fp8_by_itself(sign: int) -> None:
    """Many bf16 values are halfway between two FP8 values and follow any step; of dithered ones, as many as are due."""
    start = (0.05 * torch.randn(1 << 21, generator=torch.Generator().manual_seed(2))).bfloat16().float()
    step = sign * 2e-6

    def change(values: torch.Tensor) -> torch.Tensor:
        before, after = (_to_fp8(weights, scale=2.0**10) for weights in (values, values + step))
        return after.double() - before.double()

    assert float(change(start).mean()) / step > 10
    dithered = start.clone()
    dither_(dithered, random_bits(len(dithered)))
    changes = change(dithered)
    assert abs(float(changes.mean()) - step) < 4 * float(changes.std()) / len(changes) ** 0.5 < 0.2 * abs(step)


def _to_fp8(values: torch.Tensor, scale: float) -> torch.Tensor:
    """By torch's own rounding."""
    return (values * scale).to(torch.float8_e4m3fn).float() / scale
