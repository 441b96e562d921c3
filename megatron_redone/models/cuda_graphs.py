"""Layers as CUDA graphs: each is launched as one, which pays where its kernels end before Python starts the next.

megatron-core records the layers' calls in the first training step and captures them at its end
(megatron/core/transformer/cuda_graphs.py, 0.16.1); from then on they are replayed, in validation too.
"""

import os
from typing import Any

import torch
from megatron.core.transformer.cuda_graphs import _CudagraphGlobalRecord
from megatron.core.transformer.transformer_config import TransformerConfig

from megatron_redone.config.model import Backend, CudaGraphs, ModelConfig, Recompute
from megatron_redone.config.parallel import ParallelConfig
from megatron_redone.distributed.random import seed_for_cuda_graphs
from megatron_redone.errors import UserError
from megatron_redone.models.engine_version import refuse_unknown_graphs


def cuda_graph_keys(model: ModelConfig, parallel: ParallelConfig, backend: Backend) -> dict[str, Any]:
    """The part of megatron-core's configuration that asks for them.

    Raises:
        UserError: they are asked for where they cannot be, or would go wrong.
    """
    if model.cuda_graph_impl is CudaGraphs.none:
        return {}
    if backend is not Backend.transformer_engine:
        raise UserError("cuda_graph_impl: needs backend=transformer_engine; leave it none")
    refuse_unknown_graphs()
    if parallel.pipeline_model_parallel_size > 1:
        # Graphs then stand for micro-batches by their order, which a validation of another length would shift.
        raise UserError("cuda_graph_impl: needs pipeline_model_parallel_size of 1; leave it none")
    if model.recompute is not Recompute.none:
        raise UserError(
            "cuda_graph_impl: a layer that is captured cannot recompute; set recompute=none, or leave it none"
        )
    if parallel.overlap_param_gather:
        # A replayed validation would not wait for the weights of the step before it.
        raise UserError("cuda_graph_impl: not with parallel.overlap_param_gather; leave one of them out")
    growing = "expandable_segments:True" in os.environ.get("PYTORCH_CUDA_ALLOC_CONF", "")
    if growing and os.environ.get("NCCL_GRAPH_REGISTER") != "0":  # megatron-core: an illegal memory access otherwise
        raise UserError(
            "cuda_graph_impl: with PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True set NCCL_GRAPH_REGISTER=0"
        )
    return {"cuda_graph_impl": model.cuda_graph_impl.value}


def prepare_cuda_graphs() -> None:
    """What is to be done once, before layers are built."""
    seed_for_cuda_graphs(torch.initial_seed())
    # megatron-core gives the buffer of a layer's input on as soon as the layer has run, though its backward pass reads
    # it: for the first layer, a graph in between then writes there. Kept, it costs little.
    _CudagraphGlobalRecord.tensor_reuse_pool.insert = lambda tensor: None  # type: ignore[method-assign]


def refuse_cuda_graphs(config: TransformerConfig) -> None:
    """Stops a run of packed rows: a graph has one shape, and every row has other segments.

    Raises:
        UserError: `cuda_graph_impl` is not none.
    """
    if config.cuda_graph_impl != "none":
        raise UserError(
            "model.cuda_graph_impl: needs rows that are not packed (redone pretrain, data.isolate_documents=false); "
            "leave it none"
        )
