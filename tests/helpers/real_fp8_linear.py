"""One linear layer of each kind in FP8: Transformer Engine's over reference kernels, and the emulation's.

    python -m tests.helpers.real_fp8_linear

Both are given the same weights, inputs and gradients of the output, three times. Prints for each recipe how far output
and gradients of input and weight are apart, relatively, and how far at least the emulation is from bf16, as JSON.
"""

import json
from typing import Any

from tests.helpers import real_training

import torch  # isort: skip
from megatron.core.fp8_utils import get_fp8_context

from megatron_redone.architectures import parse_architecture
from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.distributed.context import start_context
from tests.helpers import real_engine

RECIPES = ("tensorwise", "delayed", "blockwise")
TOKENS, PASSES = 128, 3


def passes(model: Any, name: str) -> list[torch.Tensor]:
    """Outputs and gradients of inputs and weight, of all passes."""
    layer = model.chunks[0].decoder.layers[0]
    linear = {"linear_proj": layer.self_attention.linear_proj, "linear_fc2": layer.mlp.linear_fc2}[name]
    weight, random = linear.weight, torch.Generator().manual_seed(5)
    with torch.no_grad():
        weight.copy_(0.05 * torch.randn(weight.shape, generator=random))
    found = []
    for number in range(PASSES):
        weight.main_grad, weight.grad, weight.grad_added_to_main_grad = torch.zeros(weight.shape), None, False
        values = ((1 + number) * torch.randn(TOKENS, 1, weight.shape[1], generator=random)).bfloat16().requires_grad_()
        gradient = torch.randn(TOKENS, 1, weight.shape[0], generator=random).bfloat16() / (1 + number)
        linear.is_first_microbatch = True  # of a step: Transformer Engine keeps its rounded weight for the others
        with get_fp8_context(model.config):
            output, _ = linear(values)
        output.backward(gradient)
        own = 0 if weight.grad is None or weight.grad_added_to_main_grad else weight.grad.float()
        found += [output.detach(), values.grad, weight.main_grad + own]
    return found


def compare(recipe: str, context: Any) -> dict[str, float]:
    """The worst of both layers."""
    fp8 = {"fp8.recipe": recipe}
    architecture = parse_architecture({**real_engine.SHAPE, "num_hidden_layers": 1})
    wanted = {"shape": {"num_hidden_layers": 1}, "model": {"precision": "fp8", **fp8}}
    ours = real_training.torch_model({**wanted, "ours": {"precision": "fp8_emulated", **fp8}}, architecture, context)
    plain = real_training.torch_model({**wanted, "ours": {"precision": "bf16"}}, architecture, context)
    theirs = real_training.engine_model(wanted, architecture, context)
    apart = {"apart": 0.0, "from_bf16": 1.0}
    for name in ("linear_proj", "linear_fc2"):
        a, b, c = (passes(model, name) for model in (ours, theirs, plain))
        apart["apart"] = max(apart["apart"], *(_relative(x, y) for x, y in zip(a, b, strict=True)))
        apart["from_bf16"] = min(apart["from_bf16"], *(_relative(x, y) for x, y in zip(a, c, strict=True)))
    return apart


def _relative(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.float() - other.float()).norm() / one.float().norm())


if __name__ == "__main__":
    place = start_context(ParallelConfig(use_distributed_optimizer=False), Device.cpu)
    for kind in RECIPES:
        print(json.dumps(compare(kind, place)), flush=True)
