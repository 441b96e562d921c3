"""AdamW in the shape of Apex's, for machines that have neither Apex nor Transformer Engine.

megatron-core's distributed optimizer saves and reshards an optimizer that keeps `step` in the parameter
group and `exp_avg` and `exp_avg_sq` in the state. torch's AdamW keeps a step for each parameter, and a
checkpoint of it cannot be loaded.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from megatron.core import optimizer as megatron_optimizer
from megatron.core.optimizer import distrib_optimizer

from megatron_redone.distributed import cpu_platform


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
    ) -> None:
        assert adam_w_mode and bias_correction, "only AdamW with bias correction is made here"
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Updates every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            # Also where this rank holds nothing of a group: the step must be the same on all ranks.
            group["step"] = group.get("step", 0) + 1
            pairs = [(param, param.grad) for param in group["params"] if param.grad is not None]
            if pairs:
                self._update(group, [param for param, _ in pairs], [grad for _, grad in pairs])

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
            state["exp_avg"] = torch.zeros_like(param)
            state["exp_avg_sq"] = torch.zeros_like(param)
        return state


def use_fused_adam() -> None:
    """Puts it in the place of torch's AdamW, which megatron-core falls back to without Apex.

    On a CPU also in that of Transformer Engine's, which is a CUDA kernel.
    """
    falls_back = megatron_optimizer.USING_PYTORCH_OPTIMIZER or megatron_optimizer.Adam is FusedAdam
    if not (falls_back or cpu_platform.installed()):
        return
    megatron_optimizer.Adam = FusedAdam
    megatron_optimizer.USING_PYTORCH_OPTIMIZER = False
    distrib_optimizer.Adam = FusedAdam
    distrib_optimizer.HAVE_APEX_OR_TE = True
    distrib_optimizer.USING_APEX_OPTIMIZER = True
    distrib_optimizer.USING_TE_OPTIMIZER = False
