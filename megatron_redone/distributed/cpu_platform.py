"""Makes megatron-core run without CUDA: stands in for what it calls by that name.

Most of what is replaced here can only raise on a machine without CUDA, so that replacing it changes
nothing for anybody else; the exceptions say so. What is replaced for speed alone is in cpu_kernels.py.
"""

import contextlib
import functools
import os
from collections.abc import Callable
from typing import Any

import torch

from megatron_redone.distributed import cpu_kernels

_CPU = torch.device("cpu")
_FACTORIES = (
    *("tensor", "zeros", "ones", "empty", "full", "arange", "rand", "randn"),
    *("zeros_like", "ones_like", "empty_like", "full_like"),
)
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
    _take_plain_tensor_lists()
    cpu_kernels.install()
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


class _InertStream:
    """Stands for a CUDA stream."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., None]:
        return _do_nothing


class _Silent:
    """Stands for the logging module of one megatron-core file."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *_, **__: self


def _do_nothing(*_: Any, **__: Any) -> None:
    pass
