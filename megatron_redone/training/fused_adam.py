"""AdamW in the shape of Apex's, for machines that have neither Apex nor Transformer Engine, and for moments in bf16.

megatron-core's distributed optimizer saves and reshards an optimizer that keeps `step` in the parameter
group and `exp_avg` and `exp_avg_sq` in the state. torch's AdamW keeps a step for each parameter, and a
checkpoint of it cannot be loaded.
"""

import functools
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import torch
from megatron.core import optimizer as megatron_optimizer
from megatron.core.optimizer import distrib_optimizer

from megatron_redone.config.optimizer import MomentsDtype
from megatron_redone.distributed import cpu_platform

_MOMENTS = ("exp_avg", "exp_avg_sq")
# What megatron-core has found installed.
_FOUND = SimpleNamespace(
    Adam=megatron_optimizer.Adam, USING_PYTORCH_OPTIMIZER=megatron_optimizer.USING_PYTORCH_OPTIMIZER
)
_FOUND_DISTRIBUTED = SimpleNamespace(
    **{
        name: getattr(distrib_optimizer, name)
        for name in ("Adam", "HAVE_APEX_OR_TE", "USING_APEX_OPTIMIZER", "USING_TE_OPTIMIZER")
        if hasattr(distrib_optimizer, name)
    }
)


class FusedAdam(torch.optim.Optimizer):
    """AdamW over torch's fused kernel, on CPU and CUDA."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        bias_correction: bool = True,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        adam_w_mode: bool = True,
        weight_decay: float = 0.0,
        capturable: bool = False,
        moments_dtype: torch.dtype = torch.float32,
    ) -> None:
        """Takes what Apex's does (`capturable` since megatron-core 0.17), and the type of moments between steps."""
        assert not capturable, "steps in CUDA graphs are not made here"
        assert adam_w_mode and bias_correction, "only AdamW with bias correction is made here"
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)
        self._moments_dtype = moments_dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Updates every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            # Also where this rank holds nothing of a group: the step must be the same on all ranks.
            group["step"] = group.get("step", 0) + 1
            pairs = [(param, param.grad) for param in group["params"] if param.grad is not None]
            if pairs and self._moments_dtype is torch.float32:
                self._update(group, [param for param, _ in pairs], [grad for _, grad in pairs])
            elif pairs:
                for param, grad in pairs:  # one by one: the moments of no more than one are in fp32
                    self._update_rounded(group, param, grad)

    def _update_rounded(self, group: dict[str, Any], param: torch.Tensor, grad: torch.Tensor) -> None:
        state = self._state_of(param)
        for name in _MOMENTS:
            state[name] = state[name].float()
        self._update(group, [param], [grad])
        for name in _MOMENTS:
            state[name] = state[name].to(self._moments_dtype)

    def _update(self, group: dict[str, Any], params: list[torch.Tensor], grads: list[torch.Tensor]) -> None:
        states = [self._state_of(param) for param in params]
        step = torch.tensor(float(group["step"]), device=params[0].device)
        beta1, beta2 = group["betas"]
        torch._fused_adamw_(  # type: ignore[call-overload,attr-defined]
            params,
            grads,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [step] * len(params),
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )

    def _state_of(self, param: torch.Tensor) -> dict[str, torch.Tensor]:
        state = self.state[param]
        if not state:
            for name in _MOMENTS:
                state[name] = torch.zeros_like(param, dtype=self._moments_dtype)
        return state


def use_fused_adam(moments: MomentsDtype = MomentsDtype.fp32) -> None:
    """Puts it in the place of torch's AdamW, which megatron-core falls back to without Apex.

    On a CPU also in that of Transformer Engine's, which is a CUDA kernel; and for moments in bf16, of which that one
    would hold all in fp32 at once while it makes a step (transformer_engine/pytorch/optimizers/fused_adam.py, 2.11).
    """
    rounded = moments is MomentsDtype.bf16
    if not (_FOUND.USING_PYTORCH_OPTIMIZER or cpu_platform.installed() or rounded):
        for module, found in ((megatron_optimizer, _FOUND), (distrib_optimizer, _FOUND_DISTRIBUTED)):
            vars(module).update(vars(found))  # another run of this process has asked for bf16
        return
    dtype = torch.bfloat16 if rounded else torch.float32
    megatron_optimizer.Adam = functools.partial(FusedAdam, moments_dtype=dtype)  # type: ignore[assignment,misc]
    megatron_optimizer.USING_PYTORCH_OPTIMIZER = False
    distrib_optimizer.Adam = FusedAdam
    distrib_optimizer.HAVE_APEX_OR_TE = True
    distrib_optimizer.USING_APEX_OPTIMIZER = True
    distrib_optimizer.USING_TE_OPTIMIZER = False
