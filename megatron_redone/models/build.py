"""Builds the model chunks that this rank holds."""

from dataclasses import dataclass

from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.transformer.transformer_config import TransformerConfig

from megatron_redone.architectures import Architecture
from megatron_redone.batches.row_placer import RowPlacer
from megatron_redone.config.model import Backend, CudaGraphs, ModelConfig, Precision
from megatron_redone.distributed.context import ParallelContext
from megatron_redone.models.backends import Fp8Emulation, block_spec, choose_backend
from megatron_redone.models.cuda_graphs import prepare_cuda_graphs
from megatron_redone.models.fp8_machine import check_fp8
from megatron_redone.models.gpt import make_chunk
from megatron_redone.models.initialization import draw_weights
from megatron_redone.models.parallel_sizes import padded_vocab_size
from megatron_redone.models.transformer_config import transformer_config
from megatron_redone.models.weight_gradients import provide_weight_gradients


@dataclass(frozen=True, kw_only=True)
class Model:
    """One rank's part of a model.

    Attributes:
        chunks: One GPTModel, or one for each virtual pipeline stage of this rank, in order.
        config: megatron-core's configuration, which the schedules read too.
        backend: `torch` or `transformer_engine`.
        weight_gradients: What adds gradients up within matrix products.
        tokens_multiple: What the tokens of a micro-batch on a rank must be a multiple of.
    """

    architecture: Architecture
    context: ParallelContext
    config: TransformerConfig
    backend: Backend
    chunks: list[GPTModel]
    weight_gradients: str = "none"
    tokens_multiple: int = 1

    @property
    def row_placer(self) -> RowPlacer:
        """Puts micro-batches where this rank computes, in the format of the model's attention."""
        return RowPlacer(self.context, self.backend, self.tokens_multiple)


def build_model(
    architecture: Architecture, model: ModelConfig, context: ParallelContext, seed: int | None = 1234
) -> Model:
    """Builds this rank's model chunks with random weights that do not depend on the parallel sizes.

    `check_parallel_sizes` is to be called before: here sizes that do not fit end in an exception of megatron-core's.

    Args:
        seed: Of the weights; None leaves them undrawn, whatever the memory held, for a caller who fills them all
            (drawing seven billion takes one core minutes).
    """
    choice = Backend.torch if model.precision is Precision.fp8_emulated else model.backend
    backend = choose_backend(choice, context.device)
    check_fp8(model, backend, architecture, context.config, context.device)
    weight_gradients = provide_weight_gradients(context.device)
    config = transformer_config(architecture, model, context.config, backend, context.device)
    if model.cuda_graph_impl is not CudaGraphs.none:
        prepare_cuda_graphs()
    emulation = None
    if model.precision is Precision.fp8_emulated:
        emulation = Fp8Emulation(fp8=model.fp8, amax_group=context.groups.tp_dp_cp)
    stages = context.config.virtual_pipeline_model_parallel_size or 1
    model_chunks = [
        _build_chunk(architecture, config, backend, context, stage, stages, emulation) for stage in range(stages)
    ]
    if seed is not None:
        draw_weights(model_chunks, architecture, context, seed)
    return Model(
        architecture=architecture,
        context=context,
        config=config,
        backend=backend,
        chunks=model_chunks,
        weight_gradients=weight_gradients,
        tokens_multiple=model.tokens_multiple(context.config.sequence_parallel),
    )


def _build_chunk(
    architecture: Architecture,
    config: TransformerConfig,
    backend: Backend,
    context: ParallelContext,
    stage: int,
    stages: int,
    emulation: Fp8Emulation | None,
) -> GPTModel:
    vp_stage = stage if stages > 1 else None
    return make_chunk(
        architecture,
        config,
        block_spec(backend, config, context.pipeline_rank, vp_stage, emulation),
        backend,
        vocab_size=padded_vocab_size(architecture, context.config),
        pre_process=context.pipeline_rank == 0 and stage == 0,
        post_process=context.is_last_stage and stage == stages - 1,
        vp_stage=vp_stage,
        device=context.device,
    )
