"""Loss and gradients of both backends from the same weights: Transformer Engine's own modules over reference kernels.

    python -m tests.helpers.real_training '[{"shape": {...}, "precision": "fp32"}, ...]'

Prints for each case how far the loss and the gradients are apart, relatively, as JSON.
"""

import json
import os
import sys
from typing import Any

os.environ.update(NVTE_MASKED_SOFTMAX_FUSION="0", TORCHDYNAMO_DISABLE="1")

from tests.helpers import real_engine

real_engine.pretend_card()
import torch  # noqa: E402
import transformer_engine.pytorch  # type: ignore[import-not-found]  # noqa: E402, F401

from megatron_redone.distributed import cpu_platform  # noqa: E402
from tests.helpers import reference_kernels  # noqa: E402

cpu_platform.install()
reference_kernels.install()

from megatron.core import parallel_state  # noqa: E402

from megatron_redone.config.loader import load_config  # noqa: E402
from megatron_redone.config.model import Backend, ModelConfig  # noqa: E402
from megatron_redone.config.parallel import ParallelConfig  # noqa: E402
from megatron_redone.distributed.random import seed_all  # noqa: E402
from megatron_redone.training.tensor_places import find_places  # noqa: E402

LENGTH = 32


def compare(shape: dict[str, Any], precision: str) -> dict[str, float]:
    """One step of one process."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    parallel_state.initialize_model_parallel(create_gloo_process_groups=True)
    seed_all(1, pipeline_rank=0)
    model = load_config(ModelConfig, None, [f"precision={precision}", "cross_entropy_fusion_impl=plain"])
    losses, gradients = [], []
    for backend in (Backend.torch, Backend.transformer_engine):
        for name in ("NVTE_FLASH_ATTN", "NVTE_FUSED_ATTN", "NVTE_UNFUSED_ATTN"):
            os.environ.pop(name, None)  # megatron-core sets them by the first model, and holds the next one to them
        _, (chunk,) = real_engine._chunks({"shape": shape, "unfused": True}, model, ParallelConfig(), backend)
        loss, found = _step(chunk, backend)
        losses.append(loss)
        gradients.append(found)
    ours, theirs = gradients
    assert ours.keys() == theirs.keys()
    parallel_state.destroy_model_parallel()
    torch.distributed.destroy_process_group()
    differences = [float((ours[key] - theirs[key]).norm() / ours[key].norm()) for key in ours]
    return {"loss": abs(losses[1] / losses[0] - 1), "gradients": max(differences), "tensors": float(len(differences))}


def _step(chunk: Any, backend: Backend) -> tuple[float, dict[Any, torch.Tensor]]:
    places = find_places(chunk)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, tensor in sorted(places.tensors.items(), key=lambda item: str(places.places[item[0]].parts)):
            values = torch.randn(tensor.shape, generator=generator)
            is_norm = "norm" in name
            tensor.copy_((1 + 0.1 * values if is_norm else 0.05 * values).to(tensor.dtype))
    for parameter in chunk.parameters():
        parameter.main_grad = torch.zeros(parameter.shape)
        parameter.grad_added_to_main_grad = False
    tokens = torch.randint(0, 512, (2, LENGTH), generator=generator)
    positions = torch.arange(LENGTH).repeat(2, 1)
    losses = chunk(tokens, positions, None, labels=tokens.roll(-1, 1))
    losses.float().mean().backward()
    by_place = {}
    for name in places.tensors:
        parameter = chunk.get_parameter(name)
        own = 0 if parameter.grad is None or parameter.grad_added_to_main_grad else parameter.grad.float()
        by_place[str(places.places[name].parts)] = (parameter.main_grad + own).detach()
    return float(losses.float().mean()), by_place


if __name__ == "__main__":
    for case in json.loads(sys.argv[1]):
        print(json.dumps(compare(case["shape"], case["precision"])), flush=True)
