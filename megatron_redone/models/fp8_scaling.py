"""Where the scales of one linear layer come from: the three recipes, over `fp8_quantize`."""

from typing import Protocol

import torch
import torch.distributed as dist

from megatron_redone.config.fp8 import AmaxAlgo, Fp8Config, Fp8Format, Fp8Recipe
from megatron_redone.models.fp8_quantize import (
    BLOCK,
    E4M3,
    E5M2,
    Quantized,
    delayed_scale,
    quantize,
    quantize_tiles,
    scale_of,
)

INPUT, WEIGHT, GRADIENT = range(3)


class Scaling(Protocol):
    """Rounds the operands of a layer's three matrix products.

    The first of a pair is the operand of the forward product (or of the gradient of the input), the second
    that of the gradient of the weight; they differ where scales run along the dimension that is summed over.
    """

    def forward(
        self, input: torch.Tensor, weight: torch.Tensor, training: bool
    ) -> tuple[Quantized, Quantized, Quantized]:
        """Input [T, K] for the product and for the weight's gradient, and weight [N, K].

        Only a pass in training moves what later scales come from.
        """
        ...

    def backward(self, gradient: torch.Tensor) -> tuple[Quantized, Quantized]:
        """The gradient of the output [T, N], for the input's gradient and for the weight's."""
        ...

    def state(self) -> torch.Tensor | None:
        """What a checkpoint must hold."""
        ...

    def restore(self, state: torch.Tensor) -> None:
        """Takes it back."""
        ...


def make_scaling(config: Fp8Config, group: dist.ProcessGroup | None) -> Scaling:
    """The recipe's scaling of one layer.

    Args:
        config: The recipe.
        group: Over which the delayed recipe takes the largest magnitudes, in megatron-core all ranks that hold the
            same layers (tensor x data x context); None for this rank alone.
    """
    gradient = E5M2 if config.operand_format is Fp8Format.hybrid else E4M3
    if config.recipe is Fp8Recipe.delayed:
        return DelayedScaling(config, gradient, group)
    if config.recipe is Fp8Recipe.tensorwise:
        return TensorwiseScaling(gradient)
    assert config.recipe is Fp8Recipe.blockwise
    return BlockwiseScaling(gradient)


class TensorwiseScaling:
    """Each tensor by its own largest magnitude (Transformer Engine's Float8CurrentScaling).

    A weight that is split over ranks has a scale on each; inputs and gradients that sequence parallelism
    splits are whole when they come here, so that all ranks agree, as Transformer Engine has it.
    """

    def __init__(self, gradient: torch.dtype) -> None:
        self._gradient = gradient

    def forward(
        self, input: torch.Tensor, weight: torch.Tensor, training: bool
    ) -> tuple[Quantized, Quantized, Quantized]:
        """See `Scaling`."""
        quantized = _by_own_amax(input, E4M3)
        return quantized, quantized, _by_own_amax(weight, E4M3)

    def backward(self, gradient: torch.Tensor) -> tuple[Quantized, Quantized]:
        """See `Scaling`."""
        quantized = _by_own_amax(gradient, self._gradient)
        return quantized, quantized

    def state(self) -> None:
        """Nothing outlives a pass."""

    def restore(self, state: torch.Tensor) -> None:
        """Nothing to take back."""


class BlockwiseScaling:
    """1 x 128 tiles of inputs and gradients, along what is summed over, and 128 x 128 of weights.

    Transformer Engine's Float8BlockScaling; for the weight's gradient, tokens are summed over, and both versions
    are rounded from the exact values.
    """

    def __init__(self, gradient: torch.dtype) -> None:
        self._gradient = gradient

    def forward(
        self, input: torch.Tensor, weight: torch.Tensor, training: bool
    ) -> tuple[Quantized, Quantized, Quantized]:
        """See `Scaling`."""
        return *_along_both(input, E4M3), quantize_tiles(weight, (BLOCK, BLOCK), E4M3)

    def backward(self, gradient: torch.Tensor) -> tuple[Quantized, Quantized]:
        """See `Scaling`."""
        return _along_both(gradient, self._gradient)

    def state(self) -> None:
        """Nothing outlives a pass."""

    def restore(self, state: torch.Tensor) -> None:
        """Nothing to take back."""


class DelayedScaling:
    """Each tensor by a scale from earlier passes (Transformer Engine's DelayedScaling).

    A pass with gradients moves the histories by one, for input and weight in its forward part and for the
    gradient in its backward part; evaluation uses scales and leaves them. Here every micro-batch rounds the weight
    anew, where Transformer Engine keeps the rounded one of a step's first micro-batch.
    """

    def __init__(self, config: Fp8Config, gradient: torch.dtype, group: dist.ProcessGroup | None) -> None:
        self._config, self._group = config, group
        self._types = (E4M3, E4M3, gradient)
        self._scale = torch.ones(3)
        # Entry 0 is the latest; order and length as in Transformer Engine's `amax_history`.
        self._history = torch.zeros(3, config.amax_history)

    def forward(
        self, input: torch.Tensor, weight: torch.Tensor, training: bool
    ) -> tuple[Quantized, Quantized, Quantized]:
        """See `Scaling`."""
        self._follow(input.device)
        quantized = self._quantize(input, INPUT), self._quantize(weight, WEIGHT)
        if training:
            self._move([INPUT, WEIGHT], torch.stack([_amax(input), _amax(weight)]))
        return quantized[0], quantized[0], quantized[1]

    def backward(self, gradient: torch.Tensor) -> tuple[Quantized, Quantized]:
        """See `Scaling`."""
        quantized = self._quantize(gradient, GRADIENT)
        self._move([GRADIENT], _amax(gradient)[None])
        return quantized, quantized

    def state(self) -> torch.Tensor:
        """Scale and history of input, weight and gradient, fp32 [3, 1 + history]."""
        return torch.cat([self._scale[:, None], self._history], 1).cpu()

    def restore(self, state: torch.Tensor) -> None:
        """Takes them back; of a history of another length the latest entries."""
        kept = min(state.shape[1] - 1, self._history.shape[1])
        self._scale = state[:, 0].to(self._scale, copy=True)
        self._history.zero_()
        self._history[:, :kept] = state[:, 1 : 1 + kept]

    def _quantize(self, values: torch.Tensor, operand: int) -> Quantized:
        return quantize(values, self._scale[operand].clone(), self._types[operand])

    def _move(self, operands: list[int], amax: torch.Tensor) -> None:
        if self._group is not None and self._group.size() > 1:
            dist.all_reduce(amax, dist.ReduceOp.MAX, group=self._group)
        for operand, latest in zip(operands, amax, strict=True):
            self._history[operand] = torch.cat([latest[None], self._history[operand, :-1]])
            chosen = self._history[operand].max() if self._config.amax_algo is AmaxAlgo.max else latest
            self._scale[operand] = delayed_scale(
                chosen, self._scale[operand], self._types[operand], self._config.margin
            )

    def _follow(self, device: torch.device) -> None:
        if self._scale.device != device:
            self._scale, self._history = self._scale.to(device), self._history.to(device)


def _amax(values: torch.Tensor) -> torch.Tensor:
    return values.detach().abs().amax().float()


def _by_own_amax(values: torch.Tensor, dtype: torch.dtype) -> Quantized:
    largest = torch.finfo(values.dtype).max
    return quantize(values, scale_of(_amax(values), dtype, largest), dtype)


def _along_both(values: torch.Tensor, dtype: torch.dtype) -> tuple[Quantized, Quantized]:
    return quantize_tiles(values, (1, BLOCK), dtype), quantize_tiles(values, (BLOCK, 1), dtype)
