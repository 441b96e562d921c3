"""Rounding to FP8 as Transformer Engine's recipes do it, with torch's own casts.

A tensor is multiplied by its scales in fp32, cut off at the largest finite number of the type (the hardware's
cast saturates, torch's does so in some versions and for some types only) and cast. Scales follow Transformer
Engine 2.11: `_scale_from_amax_tensor` (pytorch/custom_recipes/quantization_current_scaling.py) for current ones,
`_default_sf_compute` (pytorch/quantization.py) for delayed ones, and powers of two for blocks, the default of
`Float8BlockScaling` (common/recipe/__init__.py).
"""

from dataclasses import dataclass

import torch

E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2
BLOCK = 128
_LARGEST_FP32 = torch.finfo(torch.float32).max
_EXPONENT = -(1 << 23)  # 0xFF800000, sign and exponent of a float32


@dataclass(frozen=True)
class Quantized:
    """A tensor in FP8.

    Attributes:
        data: e4m3 or e5m2 [R, C].
        scale: fp32, what the values were multiplied by: [] for the whole tensor, or one of every tile,
            [R / rows, C / columns], rounded up.
        tile: Rows and columns of a tile; None with one scale.
    """

    data: torch.Tensor
    scale: torch.Tensor
    tile: tuple[int, int] | None = None

    def dequantize(self) -> torch.Tensor:
        """The values again, fp32 [R, C]."""
        return self.data.float() * _spread(self.scale.reciprocal(), self.data, self.tile)


def quantize(values: torch.Tensor, scale: torch.Tensor, dtype: torch.dtype) -> Quantized:
    """Rounds [R, C] with one scale."""
    return Quantized(_cast(values, scale, dtype), scale)


def quantize_tiles(values: torch.Tensor, tile: tuple[int, int], dtype: torch.dtype) -> Quantized:
    """Rounds [R, C] with a scale for every tile, a power of two; tiles at the edges may be smaller."""
    amax = _tile_amax(values.float().abs(), tile)
    scale = power_of_two(scale_of(amax, dtype))
    return Quantized(_cast(values, _spread(scale, values, tile), dtype), scale, tile)


def scale_of(amax: torch.Tensor, dtype: torch.dtype, largest: float = _LARGEST_FP32) -> torch.Tensor:
    """What makes the largest magnitude the type's largest number: 1 where it is 0 or not finite.

    Args:
        amax: Largest magnitudes, fp32 of any shape.
        dtype: The FP8 type.
        largest: Stands for a scale that overflows.
    """
    scale = torch.finfo(dtype).max / amax
    scale = torch.where(torch.isinf(scale), largest, scale)
    return torch.where((amax == 0) | ~torch.isfinite(amax), 1.0, scale)


def delayed_scale(amax: torch.Tensor, scale: torch.Tensor, dtype: torch.dtype, margin: int) -> torch.Tensor:
    """The next scale; where the largest magnitude is 0 or not finite it stays as it is."""
    new = (torch.finfo(dtype).max / amax) / 2**margin
    new = torch.where((amax > 0) & torch.isfinite(amax), new, scale)
    return torch.where(torch.isinf(new), _LARGEST_FP32, new)


def power_of_two(scale: torch.Tensor) -> torch.Tensor:
    """Rounds fp32 down to a power of two, by cutting the fraction off."""
    return (scale.view(torch.int32) & _EXPONENT).view(torch.float32)


def _cast(values: torch.Tensor, scale: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    limit = torch.finfo(dtype).max
    return (values.float() * scale).clamp_(-limit, limit).to(dtype)


def _tile_amax(magnitudes: torch.Tensor, tile: tuple[int, int]) -> torch.Tensor:
    rows, columns = magnitudes.shape
    padded = torch.nn.functional.pad(magnitudes, (0, -columns % tile[1], 0, -rows % tile[0]))
    return padded.unflatten(1, (-1, tile[1])).unflatten(0, (-1, tile[0])).amax((1, 3))


def _spread(scale: torch.Tensor, values: torch.Tensor, tile: tuple[int, int] | None) -> torch.Tensor:
    """The scale of every value."""
    if tile is None:
        return scale
    rows, columns = values.shape
    return scale.repeat_interleave(tile[0], 0)[:rows].repeat_interleave(tile[1], 1)[:, :columns]
