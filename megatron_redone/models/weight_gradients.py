"""The kernel that adds a weight's gradient to its main gradient within the matrix product.

megatron-core's own linear layers look for Apex's, and every layer goes without the fusion where that is not: gradients
are then rounded to bf16 before they are added up. Transformer Engine's product can do the same.
"""

import inspect
from typing import Any

import torch
from megatron.core.extensions import transformer_engine as engine
from megatron.core.tensor_parallel import layers


def provide_weight_gradients(device: torch.device) -> str:
    """Makes the fusion available to all layers, where something can do it, and says what; before layers are built.

    Returns:
        `Apex`, `Transformer Engine`, `BLAS` (on a CPU: distributed/cpu_kernels.py) or `none`.
    """
    if device.type == "cpu":
        return "BLAS"
    if isinstance(getattr(layers, "fused_weight_gradient_mlp_cuda", None), EngineAccumulation):
        return "Transformer Engine"
    if layers._grad_accum_fusion_available:
        return "Apex"
    if not engine.HAVE_TE:
        return "none"
    layers.fused_weight_gradient_mlp_cuda = EngineAccumulation()  # type: ignore[attr-defined]
    layers._grad_accum_fusion_available = True
    return "Transformer Engine"


class EngineAccumulation:
    """Apex's `fused_weight_gradient_mlp_cuda` over Transformer Engine's matrix product."""

    def __init__(self) -> None:
        from transformer_engine.pytorch.cpp_extensions import general_gemm

        self._general_gemm = general_gemm
        self._wants_workspace = "workspace" in inspect.signature(general_gemm).parameters  # up to 2.10

    def wgrad_gemm_accum_fp32(
        self, total_input: torch.Tensor, grad_output: torch.Tensor, main_grad: torch.Tensor
    ) -> None:
        """Adds grad_output^T [out, tokens] times total_input [tokens, in] to main_grad [out, in], fp32."""
        if total_input.dtype is torch.float32:
            # Transformer Engine would take TF32 (transformer_engine/common/gemm/cublaslt_gemm.cu).
            main_grad.addmm_(grad_output.t(), total_input)
            return
        self._general_gemm(
            total_input,
            grad_output,
            out_dtype=main_grad.dtype,
            layout="NT",
            out=main_grad,
            grad=True,
            accumulate=True,
            **self._workspace(),
        )

    def _workspace(self) -> dict[str, Any]:
        if not self._wants_workspace:
            return {}
        from transformer_engine.pytorch.module.base import get_workspace  # type: ignore[attr-defined]

        return {"workspace": get_workspace()}
