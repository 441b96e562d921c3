"""Makes megatron-core run without CUDA: the one place that changes other people's modules for it.

megatron-core names CUDA in places that matter. Most of what is replaced here can only raise on a
machine without CUDA, so that replacing it changes nothing for anybody else; the exceptions say so.
"""

import contextlib
import functools
import os
from collections.abc import Callable
from typing import Any

import torch

_CPU = torch.device("cpu")
_FACTORIES = (
    *("tensor", "zeros", "ones", "empty", "full", "arange", "rand", "randn"),
    *("zeros_like", "ones_like", "empty_like", "full_like"),
)
_CACHED_LOGITS = 1 << 22  # 16 megabytes in fp32
_state = {"installed": False}


def installed() -> bool:
    """Whether this process has given up CUDA."""
    return _state["installed"]


def install() -> None:
    """Replaces what megatron-core calls by the name of CUDA. To be called before it builds anything."""
    if installed():
        return
    assert not torch.cuda.is_initialized(), "CUDA is in use in this process; the CPU platform would break it"
    # `with torch.device(...)` notes on first use which functions are factories. It must note torch's own, or
    # transformers, which builds its models so, would get uninitialised buffers.
    with _CPU:
        torch.empty(0)
    # Setting it before megatron-core is imported keeps its warnings about overlap away; it has no other use here.
    os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "1")
    _replace_device_functions()
    _replace_factories()
    _replace_tensor_methods()
    _replace_random_state()
    _provide_gradient_accumulation()
    _skip_collectives_of_one()
    _take_plain_tensor_lists()
    _speed_up_cross_entropy()
    _state["installed"] = True


def _replace_device_functions() -> None:
    # Handed over as `device=` nearly everywhere a tensor is made.
    torch.cuda.current_device = lambda: _CPU  # type: ignore[assignment]
    # Called after pipeline communication and when optimizer state moves.
    torch.cuda.synchronize = _do_nothing
    torch.cuda.empty_cache = _do_nothing
    # Gradient buffers and the overlap of communication ask for streams, which order nothing here.
    torch.cuda.Stream = _InertStream  # type: ignore[assignment,misc]
    torch.cuda.current_stream = torch.cuda.default_stream = _InertStream  # type: ignore[assignment]
    torch.cuda.stream = lambda *_: contextlib.nullcontext()  # type: ignore[assignment]


def _replace_factories() -> None:
    # schedules.py, optimizer/*.py, clip_grads.py and grad_scaler.py hard-code device="cuda";
    # rope under context parallel asks for pinned memory, which needs a CUDA driver.
    for name in _FACTORIES:
        setattr(torch, name, _on_cpu(getattr(torch, name)))


def _on_cpu(factory: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    @functools.wraps(factory)
    def make(*args: Any, **kwargs: Any) -> torch.Tensor:
        device = kwargs.get("device")
        if device is not None and torch.device(device).type == "cuda":
            kwargs["device"] = _CPU
        if kwargs.get("pin_memory"):
            kwargs["pin_memory"] = False
        return factory(*args, **kwargs)

    return make


def _replace_tensor_methods() -> None:
    # Tied embeddings and loaded optimizer state are sent to the device with .cuda().
    torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[assignment]
    # The optimizers choose by this string. Everybody's tensors answer so, also outside megatron-core.
    plain_type = torch.Tensor.type

    def cuda_type(self: torch.Tensor, dtype: Any = None, *args: Any, **kwargs: Any) -> Any:
        if dtype is not None:
            return plain_type(self, dtype, *args, **kwargs)
        return plain_type(self).replace("torch.", "torch.cuda.", 1)

    torch.Tensor.type = cuda_type  # type: ignore[assignment]


def _replace_random_state() -> None:
    # One generator stands for both devices: the tracker forks "CUDA" states around initialisation and dropout.
    from megatron.core.tensor_parallel import random as tracker

    torch.cuda.get_rng_state = lambda *_: torch.get_rng_state()
    torch.cuda.set_rng_state = lambda state, *_: torch.set_rng_state(state)
    torch.cuda.manual_seed = torch.manual_seed  # type: ignore[assignment]
    tracker._get_cuda_rng_state = lambda *_, **__: torch.get_rng_state()
    tracker._set_cuda_rng_state = lambda state, *_, **__: torch.set_rng_state(state)
    # With one generator the check that a fork left the "CPU" state alone would warn every time.
    tracker.logging = _Silent()


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


def _take_plain_tensor_lists() -> None:
    # Where Transformer Engine or Apex is installed, norms and scaling of gradients are its CUDA kernels.
    from megatron.core import utils
    from megatron.core.optimizer import clip_grads, optimizer

    for module in (clip_grads, optimizer):
        for name, plain in (
            ("multi_tensor_applier", utils.local_multi_tensor_applier),
            ("multi_tensor_scale_impl", utils.local_multi_tensor_scale),
        ):
            setattr(module, name, plain)
    clip_grads.l2_norm_impl = utils.local_multi_tensor_l2_norm


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
        return _FINISHED if async_op else None

    return call


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
    # made over some rows at a time. The largest is taken without its index, which costs more than the exponentials.
    from megatron.core.tensor_parallel.cross_entropy import VocabParallelCrossEntropy

    def largest(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        wide = logits.float()
        return wide, wide.amax(-1)

    def exponentials(
        logits: torch.Tensor, target: torch.Tensor, maximum: torch.Tensor, first: int, last: int
    ) -> tuple[torch.Tensor, ...]:
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

    VocabParallelCrossEntropy.calculate_logits_max = staticmethod(largest)  # type: ignore[assignment]
    VocabParallelCrossEntropy.calculate_predicted_logits = staticmethod(exponentials)  # type: ignore[assignment]


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


class _InertStream:
    """Stands for a CUDA stream."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., None]:
        return _do_nothing


_FINISHED = _InertStream()  # stands for a collective that has nothing to wait for


class _Silent:
    """Stands for the logging module of one megatron-core file."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *_, **__: self


def _do_nothing(*_: Any, **__: Any) -> None:
    pass
