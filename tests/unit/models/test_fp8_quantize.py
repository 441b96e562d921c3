"""Rounding to FP8: the values are torch's own casts of scaled values, on random and on edge values."""

import pytest
import torch

from megatron_redone.models.fp8_quantize import (
    E4M3,
    E5M2,
    Quantized,
    delayed_scale,
    power_of_two,
    quantize,
    quantize_tiles,
    scale_of,
)

TYPES = (E4M3, E5M2)


def _bits(values: torch.Tensor) -> torch.Tensor:
    return values.view(torch.uint8)


def _edges(dtype: torch.dtype) -> torch.Tensor:
    """Zeros, the largest, one beyond it, halfway between neighbours, denormals of FP8 and of bf16."""
    largest, tiny = torch.finfo(dtype).max, 2.0**-9 if dtype is E4M3 else 2.0**-16
    numbers = [0.0, largest, 1.0625, 1.125, tiny, tiny / 2, tiny * 1.5, tiny / 2.1, 1e-39, 17.0, largest * 0.97]
    positive = torch.tensor(numbers)
    return torch.stack([positive, -positive])


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("source", [torch.bfloat16, torch.float32])
def test_one_scale_is_torchs_cast(dtype: torch.dtype, source: torch.dtype) -> None:
    random = torch.randn(64, 96, generator=torch.Generator().manual_seed(1)) * 3
    for values in (random.to(source), _edges(dtype).to(source)):
        scale = scale_of(values.abs().amax().float(), dtype, torch.finfo(source).max)
        expected = (values.float() * scale).to(dtype)  # nothing exceeds the largest: no cutting off
        assert torch.equal(_bits(quantize(values, scale, dtype).data), _bits(expected))


@pytest.mark.parametrize("dtype", TYPES)
def test_what_is_too_large_becomes_the_largest(dtype: torch.dtype) -> None:
    largest = torch.finfo(dtype).max
    values = torch.tensor([[largest * 4, -largest * 4, torch.inf, -torch.inf, largest * 1.01, torch.nan]])
    found = quantize(values, torch.ones(()), dtype).data.float()[0]
    assert found[:5].tolist() == [largest, -largest, largest, -largest, largest]
    assert found[5].isnan()


@pytest.mark.parametrize("dtype", TYPES)
def test_the_largest_value_comes_back_exactly(dtype: torch.dtype) -> None:
    values = torch.randn(32, 32, generator=torch.Generator().manual_seed(2)).bfloat16()
    quantized = quantize(values, scale_of(values.abs().amax().float(), dtype), dtype)
    back = quantized.dequantize()
    assert quantized.data.float().abs().max() == torch.finfo(dtype).max
    # Half a unit of the last place: 2^-4 of three bits of fraction, 2^-3 of two.
    limit = 2**-4 if dtype is E4M3 else 2**-3
    normal = values.float().abs() > values.float().abs().max() * 1e-3
    assert ((back / values.float() - 1).abs()[normal] <= limit * 1.0001).all()


def test_scales_of_edges() -> None:
    amax = torch.tensor([0.0, torch.inf, torch.nan, 448.0, 2.0, 1e-42])
    scale = scale_of(amax, E4M3)
    assert scale.tolist() == [1.0, 1.0, 1.0, 1.0, 224.0, torch.finfo(torch.float32).max]
    old = torch.full((6,), 7.0)
    assert delayed_scale(amax, old, E4M3, 1).tolist() == [7.0, 7.0, 7.0, 0.5, 112.0, torch.finfo(torch.float32).max]


def test_powers_of_two_are_rounded_down() -> None:
    scale = torch.tensor([1.0, 1.99, 2.0, 224.0, 0.3, torch.finfo(torch.float32).max])
    assert power_of_two(scale).tolist() == [1.0, 1.0, 2.0, 128.0, 0.25, 2.0**127]


@pytest.mark.parametrize("tile", [(1, 128), (128, 1), (128, 128)])
@pytest.mark.parametrize("dtype", TYPES)
def test_every_tile_is_cast_by_itself(tile: tuple[int, int], dtype: torch.dtype) -> None:
    rows, columns = 140, 150  # tiles at both edges are cut
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(rows, columns, generator=generator) * torch.logspace(-6, 3, columns)
    values[:128, :128] = 0
    values = values.bfloat16()
    found = quantize_tiles(values, tile, dtype)
    for row in range(0, rows, tile[0]):
        for column in range(0, columns, tile[1]):
            part = (slice(row, row + tile[0]), slice(column, column + tile[1]))
            block = values[part].float()
            amax = block.abs().max()
            exponent = 0.0 if amax == 0 else torch.floor(torch.log2(torch.finfo(dtype).max / amax)).item()
            expected = (block * 2.0**exponent).to(dtype)
            assert torch.equal(_bits(found.data[part]), _bits(expected))
            assert torch.equal(found.dequantize()[part], expected.float() / 2.0**exponent)


def test_dequantize_spreads_the_scales() -> None:
    data = torch.ones(2, 4).to(E4M3)
    values = Quantized(data, torch.tensor([[2.0, 4.0]]), (2, 2)).dequantize()
    assert values.tolist() == [[0.5, 0.5, 0.25, 0.25]] * 2
