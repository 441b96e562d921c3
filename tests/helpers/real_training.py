"""Loss and gradients of both backends from the same weights: Transformer Engine's own modules over reference kernels.

    torchrun --nproc-per-node N -m tests.helpers.real_training CASES

CASES is a JSON list of {"model": {...}, "shape": {...}, "parallel": {...}, "ours": {...}}; `ours` is the torch
backend's model where it is not that of Transformer Engine. A case is one step of two micro-batches on each
data-parallel rank. Rank 0 prints how far the loss and the gradients are apart on the worst rank, relatively, as JSON.
"""

import json
import os
import sys
import zlib
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

from megatron_redone.architectures import Architecture, parse_architecture  # noqa: E402
from megatron_redone.batches.micro_batch import MicroBatch  # noqa: E402
from megatron_redone.config.loader import load_config  # noqa: E402
from megatron_redone.config.model import Backend, ModelConfig  # noqa: E402
from megatron_redone.config.parallel import Device, ParallelConfig  # noqa: E402
from megatron_redone.distributed.context import ParallelContext, destroy_context, start_context  # noqa: E402
from megatron_redone.models.build import Model, build_model  # noqa: E402
from megatron_redone.models.wrapping import wrap_data_parallel  # noqa: E402
from megatron_redone.objectives.language_modelling import LanguageModelling  # noqa: E402
from megatron_redone.objectives.micro_batches import run_micro_batches  # noqa: E402
from megatron_redone.training.tensor_places import find_places  # noqa: E402

LENGTH = 32


def compare(wanted: dict[str, Any]) -> dict[str, float]:
    """One step on all ranks, of one backend after the other."""
    parallel = ParallelConfig(**wanted.get("parallel", {}), use_distributed_optimizer=False)
    context = start_context(parallel, Device.cpu)
    architecture = parse_architecture({**real_engine.SHAPE, **wanted.get("shape", {})})
    (loss, ours), (other, theirs) = (_step(make(wanted, architecture, context)) for make in (torch_model, engine_model))
    assert ours.keys() == theirs.keys()
    apart = max(float((ours[key] - theirs[key]).norm() / ours[key].norm()) for key in ours)
    found = torch.tensor([abs(other / loss - 1) if loss else 0.0, apart, -len(ours)])
    torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
    destroy_context()
    return dict(zip(("loss", "gradients", "tensors"), (found * torch.tensor([1, 1, -1])).tolist(), strict=True))


def torch_model(wanted: dict[str, Any], architecture: Architecture, context: ParallelContext) -> Model:
    """As a run on CPU has it."""
    _forget_attention()
    return build_model(architecture, _keys(wanted.get("ours", wanted["model"])), context)


def engine_model(wanted: dict[str, Any], architecture: Architecture, context: ParallelContext) -> Model:
    """As a run on CUDA has it, but for the kernels."""
    _forget_attention()
    backend, keys = Backend.transformer_engine, _keys(wanted["model"])
    config, chunks = real_engine.make_chunks(
        {**wanted, "unfused": True}, keys, context.config, backend, context.pipeline_rank
    )
    return Model(architecture=architecture, context=context, config=config, backend=backend, chunks=chunks)


def _forget_attention() -> None:
    """megatron-core sets what the first model asks for, and holds the next one to it."""
    for name in ("NVTE_FLASH_ATTN", "NVTE_FUSED_ATTN", "NVTE_UNFUSED_ATTN"):
        os.environ.pop(name, None)


def _keys(keys: dict[str, Any]) -> ModelConfig:
    whole = {"cross_entropy_fusion_impl": "plain", **keys}
    return load_config(ModelConfig, None, [f"{key}={value}" for key, value in whole.items()])


def _step(model: Model) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss, 0 where it is not computed, and the gradients by their places in full tensors."""
    wrapped = wrap_data_parallel(model)
    for chunk in model.chunks:
        _set_weights(chunk)
    objective = LanguageModelling(model.row_placer)
    reports = run_micro_batches(wrapped, objective, _micro_batches(model.context), forward_only=False)
    gradients = {
        str(place.parts): vars(chunk.get_parameter(name))["main_grad"].detach().clone()
        for chunk in model.chunks
        for name, place in find_places(chunk).places.items()
    }
    return sum(float(report["loss"][0]) for report in reports), gradients


def _set_weights(chunk: Any) -> None:
    places = find_places(chunk)
    for name, tensor in places.tensors.items():
        parts = str(places.places[name].parts)
        values = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(zlib.crc32(parts.encode())))
        with torch.no_grad():
            tensor.copy_((1 + 0.1 * values if "norm" in name else 0.05 * values).to(tensor.dtype))


def _micro_batches(context: ParallelContext) -> list[MicroBatch]:
    generator = torch.Generator().manual_seed(context.data_rank)
    batches = []
    for tokens in torch.randint(0, 512, (2, 2, LENGTH), generator=generator):
        labels, mask = tokens.roll(-1, 1), torch.ones(2, LENGTH)
        positions = torch.arange(LENGTH).repeat(2, 1)
        batches.append(
            MicroBatch(tokens=tokens, labels=labels, loss_mask=mask, position_ids=positions, cu_seqlens=None)
        )
    return batches


if __name__ == "__main__":
    port = int(os.environ["MASTER_PORT"])
    for number, case in enumerate(json.loads(sys.argv[1]), 1):
        # torchrun's own store remembers who has met in it, so each case has another.
        os.environ.update(TORCHELASTIC_USE_AGENT_STORE="False", MASTER_PORT=str(port + number))
        line = compare(case)
        if os.environ.get("RANK", "0") == "0":
            print(json.dumps(line), flush=True)
