"""bf16 products on a processor that has no instructions for them.

Without avx512_bf16 or AMX, torch multiplies bf16 matrices in a loop thirty times slower than fp32. The instructions
multiply exactly, add up in fp32 and round the sum once: so do fp32 products of the same bf16 values, rounded to bf16.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from megatron_redone.distributed.bf16_support import bf16_instructions

ATEN = torch.ops.aten
ATTENTION = ATEN._scaled_dot_product_flash_attention_for_cpu.default
PRODUCTS = {
    ATEN.mm.default,
    ATEN.addmm.default,
    ATEN.bmm.default,
    ATEN.baddbmm.default,
    ATTENTION,
    ATEN._scaled_dot_product_flash_attention_for_cpu_backward.default,
}


class _ProductsInFp32(TorchDispatchMode):
    """Computes the products of bf16 tensors in fp32, and rounds what comes out."""

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        keys = kwargs or {}
        first = next((arg for arg in args if isinstance(arg, torch.Tensor)), None)
        if func not in PRODUCTS or first is None or first.dtype != torch.bfloat16:
            return func(*args, **keys)
        args, keys = tree_map_only(torch.Tensor, _widened, (args, keys))
        out = func(*args, **keys)
        if func is ATTENTION:  # the logarithms of its sums stay in fp32
            return out[0].bfloat16(), *out[1:]
        return tree_map_only(torch.Tensor, torch.Tensor.bfloat16, out)


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor


def fast_products() -> Any:
    """The context of a run whose bf16 products are to be fast; nothing is changed where there are instructions."""
    return nullcontext() if bf16_instructions() else _ProductsInFp32()
