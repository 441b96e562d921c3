"""megatron-core's parallel linear layers with operands rounded to FP8, for the torch backend on any device.

Products are made in fp32 of the rounded values and rounded to bf16; the weight's gradient goes to the fp32 main
gradient. T tokens of the micro-batch, K inputs, N outputs of this rank.
"""

from typing import Any

import torch
from megatron.core.tensor_parallel.layers import ColumnParallelLinear, RowParallelLinear
from megatron.core.tensor_parallel.mappings import (
    copy_to_tensor_model_parallel_region,
    gather_from_sequence_parallel_region,
)

from megatron_redone.config.fp8 import Fp8Config
from megatron_redone.models.fp8_quantize import Quantized
from megatron_redone.models.fp8_scaling import Scaling, make_scaling


class _EmulatedFp8:
    """What both kinds share; mixed in before megatron-core's class, whose product and extra state it replaces."""

    scaling: Scaling

    def _forward_impl(
        self,
        input: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
        *,
        allreduce_dgrad: bool = False,
        sequence_parallel: bool = False,
        tp_group: Any = None,
        **_: Any,
    ) -> torch.Tensor:
        if sequence_parallel:
            input = gather_from_sequence_parallel_region(input, group=tp_group)
        elif allreduce_dgrad:
            input = copy_to_tensor_model_parallel_region(input, group=tp_group)
        flat = input.flatten(0, -2)
        # Within an autograd function gradients are always off: whether this is a training pass is asked here.
        output: Any = _Product.apply(flat, weight, self.scaling, torch.is_grad_enabled())
        output = output.unflatten(0, input.shape[:-1])
        return output if bias is None else output + bias

    def get_extra_state(self) -> torch.Tensor | None:
        """Delayed scales and histories, so that a resumed run goes on with them."""
        return self.scaling.state()

    def set_extra_state(self, state: Any) -> None:
        """Takes them back; a checkpoint made without (bf16) leaves the scales at their start."""
        if isinstance(state, torch.Tensor) and state.dtype is torch.float32 and state.dim() == 2:
            self.scaling.restore(state)


class Fp8ColumnParallelLinear(_EmulatedFp8, ColumnParallelLinear):  # type: ignore[misc]
    """A layer whose outputs are split over tensor-parallel ranks."""

    def __init__(self, *args: Any, fp8: Fp8Config, amax_group: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.scaling = make_scaling(fp8, amax_group)


class Fp8RowParallelLinear(_EmulatedFp8, RowParallelLinear):  # type: ignore[misc]
    """A layer whose inputs are split over tensor-parallel ranks."""

    def __init__(self, *args: Any, fp8: Fp8Config, amax_group: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.scaling = make_scaling(fp8, amax_group)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: torch.Tensor, weight: torch.Tensor, scaling: Scaling, training: bool) -> torch.Tensor:
        operand, for_weight, matrix = scaling.forward(input, weight, training)
        ctx.save_for_backward(for_weight.data, for_weight.scale, matrix.data, matrix.scale)
        ctx.tiles = for_weight.tile, matrix.tile
        ctx.weight, ctx.scaling = weight, scaling
        return operand.dequantize().matmul(matrix.dequantize().t()).to(input.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        input_data, input_scale, weight_data, weight_scale = ctx.saved_tensors
        for_input, for_weight = ctx.scaling.backward(grads[0])
        matrix = Quantized(weight_data, weight_scale, ctx.tiles[1]).dequantize()
        grad_input = for_input.dequantize().matmul(matrix).to(grads[0].dtype)
        operand = Quantized(input_data, input_scale, ctx.tiles[0]).dequantize()
        return grad_input, _give(ctx.weight, for_weight.dequantize().t(), operand), None, None


def _give(weight: torch.Tensor, grad_t: torch.Tensor, operand: torch.Tensor) -> torch.Tensor:
    """Adds grad [N, T] x operand [T, K] to the main gradient where there is one, as megatron-core's layers do."""
    if not (hasattr(weight, "main_grad") and hasattr(weight, "grad_added_to_main_grad")):
        return grad_t.matmul(operand).to(weight.dtype)
    weight.main_grad.addmm_(grad_t, operand)  # type: ignore[attr-defined]
    weight.grad_added_to_main_grad = True  # type: ignore[attr-defined]
    # Its values are not read, but data parallelism waits for a gradient to arrive.
    return torch.empty_like(weight)
