"""bf16 products on a processor that has no instructions for them.

Without avx512_bf16 or AMX, torch multiplies bf16 matrices in a loop thirty times slower than fp32. The instructions
multiply exactly, add up in fp32 and round the sum once: so do fp32 products of the same bf16 values, rounded to bf16.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.library import Library, get_kernel
from torch.utils._pytree import tree_map_only

from megatron_redone.distributed.bf16_support import bf16_instructions

ATEN = torch.ops.aten
ATTENTION = ATEN._scaled_dot_product_flash_attention_for_cpu.default
PRODUCTS = (
    ATEN.mm.default,
    ATEN.addmm.default,
    ATEN.bmm.default,
    ATEN.baddbmm.default,
    ATTENTION,
    ATEN._scaled_dot_product_flash_attention_for_cpu_backward.default,
)


@contextmanager
def fast_products() -> Iterator[None]:
    """Within it, products of bf16 tensors are computed in fp32 and rounded; not where there are instructions.

    The kernels themselves are replaced: a dispatch mode would be asked before every other operation too, which takes
    as long as a sixth of a step.
    """
    if bf16_instructions():
        yield
        return
    library = Library("aten", "IMPL")
    for product in PRODUCTS:
        _replace(library, product)
    try:
        yield
    finally:
        library._destroy()  # pyright: ignore[reportPrivateUsage]


def _replace(library: Library, product: torch._ops.OpOverload) -> None:
    kernel = get_kernel(product, "CPU")

    def in_fp32(keyset: Any, first: torch.Tensor, *args: Any, **keys: Any) -> Any:
        if first.dtype != torch.bfloat16:
            return kernel.call_boxed(keyset, first, *args, **keys)
        (first, args, keys) = tree_map_only(torch.Tensor, _widened, (first, args, keys))
        out = kernel.call_boxed(keyset, first, *args, **keys)
        if product is ATTENTION:  # the logarithms of its sums stay in fp32
            return out[0].bfloat16(), *out[1:]
        return tree_map_only(torch.Tensor, torch.Tensor.bfloat16, out)

    library.impl(product, in_fp32, "CPU", with_keyset=True)


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor
