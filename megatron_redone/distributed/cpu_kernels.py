"""Faster ways, on a CPU, of what megatron-core does for CUDA; the results are the same.

Parts of megatron-core are replaced for the whole process: see cpu_platform.py, which does so too.
"""

from collections.abc import Callable
from typing import Any

import torch

_CACHED_LOGITS = 1 << 22  # 16 megabytes in fp32


def install() -> None:
    """Replaces them. To be called once, before megatron-core builds anything."""
    _provide_gradient_accumulation()
    _skip_collectives_of_one()
    _speed_up_cross_entropy()


def _provide_gradient_accumulation() -> None:
    # Apex's kernel adds a weight's gradient to the main gradient within the matrix product. BLAS can do
    # that too, which saves a pass over every weight and a gradient-sized tensor.
    from megatron.core.tensor_parallel import layers

    layers.fused_weight_gradient_mlp_cuda = _GradientAccumulation  # type: ignore[attr-defined]
    layers._grad_accum_fusion_available = True
    # The embedding's only use of it. Its gradient has a row for every token of the batch, autograd's one for
    # every token of the vocabulary.
    layers.F = _EmbeddingOnly  # type: ignore[assignment]


def _skip_collectives_of_one() -> None:
    # In a group of one NCCL does nothing; gloo copies all gradients and all weights to themselves and back.
    from megatron.core.distributed import param_and_grad_buffer

    for name in ("dist_all_gather_func", "dist_reduce_scatter_func"):
        setattr(param_and_grad_buffer, name, _unless_in_place(getattr(param_and_grad_buffer, name)))
    # Of a loss, a norm, a count: a thread of gloo's is woken up for each.
    torch.distributed.all_reduce = _unless_alone(torch.distributed.all_reduce)


def _unless_in_place(collective: Callable[..., Any]) -> Callable[..., Any]:
    def call(output: torch.Tensor, source: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        in_place = output.data_ptr() == source.data_ptr() and output.numel() == source.numel()
        return None if in_place else collective(output, source, *args, **kwargs)

    return call


def _unless_alone(all_reduce: Callable[..., Any]) -> Callable[..., Any]:
    def call(
        tensor: torch.Tensor, op: Any = torch.distributed.ReduceOp.SUM, group: Any = None, async_op: bool = False
    ) -> Any:
        if torch.distributed.get_world_size(group) != 1:
            return all_reduce(tensor, op=op, group=group, async_op=async_op)
        return _Finished() if async_op else None

    return call


class _Finished:
    """Stands for a collective that has nothing to wait for."""

    def wait(self, *_: Any) -> bool:
        return True


class _GradientAccumulation:
    """Apex's `fused_weight_gradient_mlp_cuda` in torch."""

    @staticmethod
    def wgrad_gemm_accum_fp32(total_input: torch.Tensor, grad_output: torch.Tensor, main_grad: torch.Tensor) -> None:
        """Adds grad_output^T [out, tokens] times total_input [tokens, in] to main_grad [out, in], fp32."""
        if total_input.dtype == torch.float32:
            main_grad.addmm_(grad_output.t(), total_input)
        else:
            main_grad.add_(grad_output.t().matmul(total_input))


def _speed_up_cross_entropy() -> None:
    # It passes over all logits six times. They are many times what a cache holds: here every pass but the last is
    # made over some rows at a time.
    from megatron.core.tensor_parallel.cross_entropy import VocabParallelCrossEntropy

    VocabParallelCrossEntropy.calculate_logits_max = staticmethod(largest_logits)  # type: ignore[assignment]
    VocabParallelCrossEntropy.calculate_predicted_logits = staticmethod(exponentials)  # type: ignore[assignment]


def largest_logits(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [..., V] in fp32 and their maxima [...]; without the index, which costs more than the exponentials."""
    wide = logits.float()
    return wide, wide.amax(-1)


def exponentials(
    logits: torch.Tensor, target: torch.Tensor, maximum: torch.Tensor, first: int, last: int
) -> tuple[torch.Tensor, ...]:
    """What megatron-core's cross entropy goes on with; `logits` become their exponentials, in place.

    Args:
        logits: fp32 [..., V], this rank's part of the vocabulary.
        target: int64 [...], ids of the whole vocabulary.
        maximum: fp32 [...], over the whole vocabulary.
        first: The first id of this rank's part.
        last: One past its last.

    Returns:
        Which targets are another rank's, bool [...]; targets counted from `first`, 0 for those, [n]; logits of the
        targets less the maximum, 0 for those, [...]; sums of the exponentials [...]; the exponentials [..., V].
    """
    elsewhere = (target < first) | (target >= last)
    own = (target - first).masked_fill_(elsewhere, 0).view(-1)
    rows, sums, predicted = logits.view(-1, logits.shape[-1]), [], []
    size = max(_CACHED_LOGITS // rows.shape[-1], 1)
    for part, maxima, chosen in zip(rows.split(size), maximum.view(-1).split(size), own.split(size), strict=True):
        part.sub_(maxima.unsqueeze(-1))
        predicted.append(part.gather(-1, chosen.unsqueeze(-1)).squeeze(-1))
        sums.append(part.exp_().sum(-1))
    found = torch.cat(predicted).view_as(target).masked_fill_(elsewhere, 0.0)
    return elsewhere, own, found, torch.cat(sums).view_as(target), logits


class _EmbeddingOnly:
    """torch.nn.functional as megatron-core's embedding sees it."""

    @staticmethod
    def embedding(ids: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Rows of a weight [V, H] by ids [B, S]."""
        if hasattr(weight, "main_grad"):
            return _AccumulatingEmbedding.apply(ids, weight)  # type: ignore[return-value]
        return torch.nn.functional.embedding(ids, weight)


class _AccumulatingEmbedding(torch.autograd.Function):
    """Adds its gradient to the main gradient by itself, and hands none to autograd."""

    @staticmethod
    def forward(ctx: Any, ids: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.ids, ctx.weight = ids, weight
        return torch.nn.functional.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[None, None]:
        main_grad = ctx.weight.main_grad
        main_grad.index_add_(0, ctx.ids.flatten(), grads[0].flatten(0, -2).to(main_grad.dtype))
        return None, None
