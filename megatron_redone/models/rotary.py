"""Rotary position embedding from explicit positions, with transformers' ways of scaling it.

Positions come with the batch. So a packed row whose positions restart, a row that is shared over
context-parallel ranks, and a plain row are one case.
"""

import math
from typing import Any

import torch

from megatron_redone.architectures import RotaryConfig


def inverse_frequencies(config: RotaryConfig) -> tuple[torch.Tensor, float]:
    """The frequency of each pair of channels, float32 [head_dim / 2], and the factor on cosine and sine."""
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.int64).float() / config.head_dim
    frequencies = 1.0 / (config.theta**exponents)
    if config.kind == "linear":
        return frequencies / config.scaling["factor"], 1.0
    if config.kind == "llama3":
        return _llama3(frequencies, config.scaling), 1.0
    if config.kind == "yarn":
        return _yarn(config)
    return frequencies, 1.0


def _llama3(frequencies: torch.Tensor, scaling: dict[str, Any]) -> torch.Tensor:
    """Slows long wavelengths by `factor`, keeps short ones, and blends between the two."""
    factor, low, high = scaling["factor"], scaling["low_freq_factor"], scaling["high_freq_factor"]
    original = scaling["original_max_position_embeddings"]
    wavelengths = 2 * math.pi / frequencies
    blend = (original / wavelengths - low) / (high - low)
    blended = (1 - blend) * frequencies / factor + blend * frequencies
    slowed = torch.where(wavelengths > original / low, frequencies / factor, frequencies)
    between = (wavelengths >= original / high) & (wavelengths <= original / low)
    return torch.where(between, blended, slowed)


def _yarn(config: RotaryConfig) -> tuple[torch.Tensor, float]:
    """Interpolates slow channels, keeps fast ones, with a ramp between (https://arxiv.org/abs/2309.00071)."""
    scaling, half = config.scaling, config.head_dim // 2
    factor = scaling["factor"]
    original = scaling["original_max_position_embeddings"]

    def channel(rotations: float) -> float:
        return config.head_dim * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(config.theta))

    low, high = channel(scaling.get("beta_fast") or 32), channel(scaling.get("beta_slow") or 1)
    if scaling.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, config.head_dim - 1)
    ramp = ((torch.arange(half, dtype=torch.float32) - low) / (high - low or 0.001)).clamp(0, 1)
    periods = config.theta ** (torch.arange(0, config.head_dim, 2).float() / config.head_dim)
    return (1 / (factor * periods)) * ramp + (1 / periods) * (1 - ramp), _yarn_attention_factor(scaling)


def _yarn_attention_factor(scaling: dict[str, Any]) -> float:
    if scaling.get("attention_factor") is not None:
        return scaling["attention_factor"]

    def magnitude(weight: float) -> float:
        return 1.0 if scaling["factor"] <= 1 else 0.1 * weight * math.log(scaling["factor"]) + 1.0

    if scaling.get("mscale") and scaling.get("mscale_all_dim"):
        return magnitude(scaling["mscale"]) / magnitude(scaling["mscale_all_dim"])
    return magnitude(1.0)


class RotaryTable(torch.nn.Module):
    """Cosines and sines of given positions, in float32 whatever the model's type."""

    frequencies: torch.Tensor

    def __init__(self, config: RotaryConfig, device: torch.device) -> None:
        super().__init__()
        frequencies, self.factor = inverse_frequencies(config)
        self.register_buffer("frequencies", frequencies.to(device), persistent=False)

    @torch.no_grad()
    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        """Positions int64 [B, S] to cosines and sines, float32 [2, S, B, 1, head_dim / 2]."""
        angles = positions.t().float()[..., None, None] * self.frequencies
        return torch.stack([angles.cos(), angles.sin()]).mul_(self.factor)


class _Rotate(torch.autograd.Function):
    """The backward pass rotates back: nothing but the table is kept."""

    @staticmethod
    def forward(ctx: Any, heads: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(table)
        cos, sin = table
        return _rotate_into(torch.empty_like(heads, memory_format=torch.contiguous_format), heads, cos, sin)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        (grad,) = grads
        cos, sin = ctx.saved_tensors[0]
        return _rotate_into(torch.empty_like(grad, memory_format=torch.contiguous_format), grad, cos, -sin), None


class _SplitAndRotate(torch.autograd.Function):
    """Goes from the fused projection to rotated queries and keys, and to values, without copies between."""

    @staticmethod
    def forward(
        ctx: Any, mixed: torch.Tensor, table: torch.Tensor, head_dim: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        ctx.save_for_backward(table)
        ctx.head_dim = head_dim
        parts = mixed.unflatten(-1, (-1, head_dim))
        rows, groups, per_group = parts.shape[:2], parts.shape[2], parts.shape[3] - 2
        cos, sin = table.unsqueeze(-2)
        query = mixed.new_empty(*rows, groups, per_group, head_dim)
        key = mixed.new_empty(*rows, groups, 1, head_dim)
        _rotate_into(query, parts[..., :-2, :], cos, sin)
        _rotate_into(key, parts[..., -2:-1, :], cos, sin)
        return query.flatten(2, 3), key.squeeze(3), parts[..., -1, :].contiguous()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        query, key, value = grads
        cos, sin = ctx.saved_tensors[0].unsqueeze(-2)
        rows, groups, per_group = key.shape[:2], key.shape[2], query.shape[2] // key.shape[2]
        grad = key.new_empty(*rows, groups, per_group + 2, ctx.head_dim)
        _rotate_into(grad[..., :-2, :], query.unflatten(2, (groups, per_group)), cos, -sin)
        _rotate_into(grad[..., -2:-1, :], key.unsqueeze(3), cos, -sin)
        grad[..., -1, :] = value
        return grad.flatten(3), None, None


def _rotate_into(out: torch.Tensor, heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Writes rotated heads [..., D] to a tensor of that shape; cos and sin broadcast over [..., D / 2]."""
    half = cos.shape[-1]
    first, second = heads[..., :half], heads[..., half:]
    # Products and sum are rounded one by one, as transformers does: a fused multiply-add would differ in the last bit.
    if heads.dtype == cos.dtype:
        torch.mul(first, cos, out=out[..., :half]).sub_(second * sin)
        torch.mul(second, cos, out=out[..., half:]).add_(first * sin)
    else:
        out[..., :half] = (first * cos).sub_(second * sin)
        out[..., half:] = (second * cos).add_(first * sin)
    return out


def rotate(heads: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Rotates queries or keys [S, B, N, D] by a table of `RotaryTable`, [2, S, B, 1, D / 2]."""
    return _Rotate.apply(heads, table)  # type: ignore[return-value]


def split_and_rotate(
    mixed: torch.Tensor, table: torch.Tensor, head_dim: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rotated query [S, B, N, D], rotated key [S, B, G, D] and value [S, B, G, D] of a fused projection.

    Args:
        mixed: [S, B, G, (N / G + 2) * D]: of each group its queries, its key and its value, side by side.
        table: Of `RotaryTable`, [2, S, B, 1, D / 2].
        head_dim: D.
    """
    return _SplitAndRotate.apply(mixed, table, head_dim)  # type: ignore[return-value]
