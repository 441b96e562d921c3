"""Builds a model of the transformer_engine backend over stand-ins, on one process that takes itself for many.

    python -m tests.helpers.te_layouts '[{"parallel": {...}, "model": {...}, "packed": false, "shape": {...}}, ...]'

Prints what the stand-ins were called with in each case, as JSON. Where "optimizer" is given, a training step is made.
"""

import json
import sys
from enum import Enum
from types import SimpleNamespace
from typing import Any
from unittest import mock

from tests.helpers import te_stand_ins

te_stand_ins.install()

import torch  # noqa: E402

from megatron_redone.config.fp8 import Fp8Config, Fp8Recipe  # noqa: E402
from megatron_redone.config.loader import load_config  # noqa: E402
from megatron_redone.config.model import Backend, CrossEntropyFusion, CudaGraphs, ModelConfig, Precision, Recompute  # noqa: E402
from megatron_redone.config.optimizer import OptimizerConfig  # noqa: E402
from megatron_redone.config.parallel import ParallelConfig  # noqa: E402
from megatron_redone.distributed import cpu_platform  # noqa: E402

cpu_platform.install()

from megatron.core import parallel_state  # noqa: E402
from megatron.core.transformer.cuda_graphs import _CudagraphGlobalRecord  # noqa: E402
from torch.testing._internal.distributed.fake_pg import FakeStore  # noqa: E402

from megatron_redone.architectures import parse_architecture  # noqa: E402
from megatron_redone.batches.micro_batch import MicroBatch  # noqa: E402
from megatron_redone.batches.row_placer import RowPlacer  # noqa: E402
from megatron_redone.distributed.random import seed_all  # noqa: E402
from megatron_redone.models.backends import block_spec  # noqa: E402
from megatron_redone.models.cuda_graphs import prepare_cuda_graphs  # noqa: E402
from megatron_redone.models.gpt import make_chunk  # noqa: E402
from megatron_redone.models.tensor_overlap import start_tensor_overlap  # noqa: E402
from megatron_redone.models.transformer_config import transformer_config  # noqa: E402
from megatron_redone.models.wrapping import wrap_data_parallel  # noqa: E402
from megatron_redone.training.model_state import set_objects  # noqa: E402
from megatron_redone.training.optimizer import build_optimizer  # noqa: E402
from megatron_redone.training.tensor_places import find_places  # noqa: E402

SHAPE = {
    **{"model_type": "qwen2", "hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "intermediate_size": 256, "vocab_size": 512, "rms_norm_eps": 1e-6},
    **{"max_position_embeddings": 128, "rope_theta": 1e6, "tie_word_embeddings": True, "hidden_act": "silu"},
}
LENGTH = 64


def build(wanted: dict[str, Any]) -> dict[str, Any]:
    te_stand_ins.CALLS.clear()
    parallel = load_config(ParallelConfig, None, [f"{name}={value}" for name, value in wanted["parallel"].items()])
    trains = "optimizer" in wanted
    if trains:  # megatron-core's optimizer wants groups that are there, so one process it is
        torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    else:
        size = parallel.model_parallel_size * 2
        torch.distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=size)
    parallel_state.initialize_model_parallel(
        parallel.tensor_model_parallel_size,
        parallel.pipeline_model_parallel_size,
        context_parallel_size=parallel.context_parallel_size,
        create_gloo_process_groups=trains,
    )
    seed_all(1, pipeline_rank=0)
    model, shape, device = (
        _model(wanted["model"]),
        parse_architecture({**SHAPE, **wanted.get("shape", {})}),
        torch.device("cpu"),
    )
    # The configuration is that of a CUDA device; what it asks for by that name, cpu_platform.py makes on the CPU.
    config = transformer_config(shape, model, parallel, Backend.transformer_engine, torch.device("cuda"))
    if model.cuda_graph_impl is not CudaGraphs.none:
        _pretend_cuda_graphs()
        prepare_cuda_graphs()
    first = parallel.pipeline_model_parallel_size == 1
    pieces = parallel.virtual_pipeline_model_parallel_size or 1
    chunks = [
        make_chunk(
            shape, config, block_spec(Backend.transformer_engine, config, 0, piece if pieces > 1 else None),
            Backend.transformer_engine, vocab_size=512, pre_process=piece == 0, post_process=first,
            vp_stage=piece if pieces > 1 else None, device=device,
        )
        for piece in range(pieces)
    ]  # fmt: skip
    start_tensor_overlap(config, LENGTH // parallel.context_parallel_size)
    if trains:
        _step(chunks, config, parallel, OptimizerConfig(**wanted["optimizer"]))
    elif first:
        _loss(chunks[0], parallel, wanted.get("packed", False))
    names = sorted(name for chunk in chunks for name, _ in chunk.named_parameters())
    saved = _saved(chunks)
    parallel_state.destroy_model_parallel()
    torch.distributed.destroy_process_group()
    graphs = [kind for _, kind, *_ in _CudagraphGlobalRecord.cudagraph_record]
    _CudagraphGlobalRecord.cudagraph_record.clear()
    found = {"calls": te_stand_ins.CALLS, "parameters": names, "graphs": graphs, "saved": saved}
    return json.loads(json.dumps(found, default=_plain))


def _saved(chunks: list[Any]) -> list[str]:
    """What a checkpoint holds of the model; and it can be loaded back."""
    saved = []
    for chunk in chunks:
        places = find_places(chunk)
        set_objects(chunk, {name: entry.data for name, entry in places.objects.items()})
        saved += [*places.tensors, *places.objects]
    return sorted(saved)


def _model(keys: dict[str, Any]) -> ModelConfig:
    fp8 = keys.pop("fp8", {})
    if "recipe" in fp8:
        fp8["recipe"] = Fp8Recipe(fp8["recipe"])
    if "recompute" in keys:
        keys["recompute"] = Recompute(keys["recompute"])
    for name, kind in {"cross_entropy_fusion_impl": CrossEntropyFusion, "cuda_graph_impl": CudaGraphs}.items():
        if name in keys:
            keys[name] = kind(keys[name])
    keys.setdefault("cross_entropy_fusion_impl", CrossEntropyFusion.plain)  # native is compiled, on a CPU for a minute
    precision = Precision(keys.pop("precision", "bf16"))
    return ModelConfig(precision=precision, backend=Backend.transformer_engine, fp8=Fp8Config(**fp8), **keys)


def _pretend_cuda_graphs() -> None:
    """What megatron-core asks the device for before it records calls; it captures them after a whole schedule only."""
    torch.cuda.get_device_capability = lambda *_: (9, 0)  # type: ignore[assignment]
    torch.cuda.graph_pool_handle = lambda: (0, 0)  # type: ignore[assignment]
    torch.cuda.set_stream = lambda _: None  # type: ignore[assignment]


def _step(chunks: list[Any], config: Any, parallel: ParallelConfig, optimizing: OptimizerConfig) -> None:
    """Gradients into the buffers of data parallelism, and an update of the weights."""
    context: Any = SimpleNamespace(config=parallel, device=torch.device("cuda"), data_size=1)
    wrapped = wrap_data_parallel(SimpleNamespace(config=config, context=context, chunks=chunks))  # type: ignore[arg-type]
    with mock.patch.object(
        cpu_platform, "installed", return_value=False
    ):  # on a CPU it would not be Transformer Engine's
        optimizer = build_optimizer(wrapped, optimizing)
    _loss(wrapped[0], parallel, False).sum().backward()
    optimizer.step()


def _loss(chunk: Any, parallel: ParallelConfig, packed: bool) -> torch.Tensor:
    zeros = torch.zeros(1, LENGTH, dtype=torch.long)
    micro_batch = MicroBatch(
        tokens=zeros,
        labels=zeros,
        loss_mask=zeros,
        position_ids=torch.arange(LENGTH)[None],
        cu_seqlens=torch.tensor([0, LENGTH // 2 - 1, LENGTH], dtype=torch.int32) if packed else None,
    )
    context: Any = SimpleNamespace(config=parallel, context_rank=0, device=torch.device("cpu"))
    rows = RowPlacer(context, Backend.transformer_engine).place(micro_batch)
    mine = rows.batch
    return chunk(mine.tokens, mine.position_ids, None, labels=mine.tokens, packed_seq_params=rows.layout)


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return list(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__


if __name__ == "__main__":
    print(json.dumps([build(case) for case in json.loads(sys.argv[1])]))
