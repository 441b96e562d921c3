"""What a GPU holds at most while a layout trains, counted from the configuration: nothing is built for it.

Bytes of a parameter, after megatron-core's mixed precision: 2 of the bf16 weight, 4 of the fp32 gradient, and 12 of the
main weight and Adam's two moments (8 with moments in bf16), which the distributed optimizer shares over data-parallel
ranks. Under FP8 each matrix of a layer is held twice more in one byte, as it is and transposed, from the first
micro-batch of a step on. Activations are those of Transformer Engine's layers with a fused attention, in bf16; of each
token and layer, with H the hidden size, A the width of the queries, K of the keys and F of the feed-forward part:

    inputs and outputs of both norms             8 H
    query, key and value as they were computed   2 A + 4 K
    the same, rotated and apart                  2 A + 4 K
    what attention gives                         2 A
    gate and up, and their product               6 F

which is (14 H + 8 K + 6 F) where A is H. Sequence parallelism shares all of it over tensor-parallel ranks, tensor
parallelism alone all but the norms. Context, NCCL's and the products' buffers and holes are not counted: 2 to 4 GB.
"""

from dataclasses import dataclass
from math import prod

from megatron_redone.architectures import Architecture
from megatron_redone.architectures.weights import FullWeight, full_weights
from megatron_redone.config.model import CrossEntropyFusion, ModelConfig, Precision, Recompute
from megatron_redone.config.optimizer import MomentsDtype, OptimizerConfig
from megatron_redone.config.parallel import ParallelConfig
from megatron_redone.errors import UserError
from megatron_redone.models.parallel_sizes import check_parallel_sizes, layers_of_stages, padded_vocab_size

# Bytes of a logit: as it was computed, in fp32, and what the loss makes of that; see `_logits`.
_LOGIT_BYTES = {CrossEntropyFusion.plain: 12, CrossEntropyFusion.native: 6, CrossEntropyFusion.te: 2}


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on the rank of one pipeline stage that holds the most.

    Attributes:
        stage: The pipeline stage, counted from 0.
        fp8_copies: Of weights, besides those in bf16.
    """

    stage: int
    weights: float
    gradients: float
    optimizer: float
    activations: float
    logits: float
    fp8_copies: float

    @property
    def total(self) -> float:
        """All of it."""
        parts = (self.weights, self.gradients, self.optimizer, self.activations, self.logits, self.fp8_copies)
        return sum(parts)


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a run puts on its ranks.

    Attributes:
        gpus: Of all machines.
        rows: Of a micro-batch.
        length: Tokens of a row.
        micro_batches: That a rank has in a step.
    """

    gpus: int
    rows: int
    length: int
    micro_batches: int = 1


def estimate_memory(
    architecture: Architecture, model: ModelConfig, parallel: ParallelConfig, optimizer: OptimizerConfig, load: Load
) -> Memory:
    """Of the worst rank.

    Raises:
        UserError: the layout does not fit the model or the number of GPUs.
    """
    check_parallel_sizes(architecture, parallel, load.length)
    if load.gpus % parallel.model_parallel_size:
        raise UserError(f"{load.gpus} GPUs cannot be shared out by {parallel.model_parallel_size}; change one of them")
    stages = range(parallel.pipeline_model_parallel_size)
    every = [_of_stage(architecture, model, parallel, optimizer, load, stage) for stage in stages]
    return max(every, key=lambda memory: memory.total)


def _of_stage(
    architecture: Architecture,
    model: ModelConfig,
    parallel: ParallelConfig,
    optimizer: OptimizerConfig,
    load: Load,
    stage: int,
) -> Memory:
    parameters, matrices = _parameters(architecture, parallel, stage)
    width = 4 if model.precision is Precision.fp32 else 2
    fp8 = model.precision is Precision.fp8
    in_fp8 = fp8 and model.fp8.fp8_param_gather
    is_last = stage == parallel.pipeline_model_parallel_size - 1
    kept = _kept_share(architecture, model, parallel, stage)
    return Memory(
        stage=stage,
        weights=width * (parameters - matrices * kept) if in_fp8 else width * parameters,
        gradients=4 * parameters,
        optimizer=_optimizer(parameters, width, parallel, optimizer, load),
        activations=_activations(architecture, model, parallel, load, stage),
        logits=_logits(architecture, model, parallel, load) if is_last else 0,
        fp8_copies=2 * matrices * kept if fp8 else 0,
    )


def _parameters(architecture: Architecture, parallel: ParallelConfig, stage: int) -> tuple[float, float]:
    """A rank's parameters, and those of them that are matrices of layers."""
    counts = layers_of_stages(architecture, parallel)
    first = sum(counts[:stage])
    held = range(first, first + counts[stage])
    tensor, total, matrices = parallel.tensor_model_parallel_size, 0.0, 0.0
    for key, weight in full_weights(architecture).items():
        if not _is_held(key, held, stage, parallel):
            continue
        count = _entries(weight, architecture, parallel) / (1 if weight.split is None else tensor)
        total += count
        matrices += count if key.startswith("decoder.layers.") and weight.columns else 0
    if architecture.tie_word_embeddings and stage and stage == parallel.pipeline_model_parallel_size - 1:
        total += padded_vocab_size(architecture, parallel) * architecture.hidden_size / tensor
    return total, matrices


def _is_held(key: str, layers: range, stage: int, parallel: ParallelConfig) -> bool:
    if key.startswith("decoder.layers."):
        return int(key.split(".")[2]) in layers
    return stage == 0 if key.startswith("embedding.") else stage == parallel.pipeline_model_parallel_size - 1


def _entries(weight: FullWeight, architecture: Architecture, parallel: ParallelConfig) -> int:
    return prod((padded_vocab_size(architecture, parallel), *weight.columns)) if weight.padded else prod(weight.shape)


def _kept_share(architecture: Architecture, model: ModelConfig, parallel: ParallelConfig, stage: int) -> float:
    """The share of a stage's layers that are computed in FP8."""
    counts = layers_of_stages(architecture, parallel)
    first, layers = sum(counts[:stage]), architecture.num_hidden_layers
    held = range(first, first + counts[stage])
    return sum(not model.fp8.is_bf16_layer(layer, layers) for layer in held) / len(held)


def _optimizer(
    parameters: float, width: int, parallel: ParallelConfig, optimizer: OptimizerConfig, load: Load
) -> float:
    moments = 4 if optimizer.moments_dtype is MomentsDtype.bf16 else 8
    main = 0 if width == 4 else 4  # weights in fp32 are their own main weights
    ranks = load.gpus // (parallel.tensor_model_parallel_size * parallel.pipeline_model_parallel_size)
    shared = parameters / ranks if parallel.use_distributed_optimizer else parameters
    return (main + moments) * shared * (1 - optimizer.optimizer_offload_fraction)


def _activations(
    architecture: Architecture, model: ModelConfig, parallel: ParallelConfig, load: Load, stage: int
) -> float:
    """Of all micro-batches whose backward pass has not begun, and what one recomputed layer takes."""
    tokens = load.rows * load.length / parallel.context_parallel_size
    scale = 2 if model.precision is Precision.fp32 else 1
    norms, rest = _bytes_of_layer(architecture, model)
    tensor = parallel.tensor_model_parallel_size
    whole = (norms / (tensor if parallel.sequence_parallel else 1) + rest / tensor) * tokens * scale
    layers = layers_of_stages(architecture, parallel)[stage]
    in_flight = _layers_in_flight(parallel, load, layers, stage)
    if model.recompute is not Recompute.full:
        return whole * in_flight
    again = layers if model.recompute_num_layers is None else _recomputed(model, parallel)
    share = again / layers
    boundary = 2 * architecture.hidden_size * tokens * scale / (tensor if parallel.sequence_parallel else 1)
    return in_flight * (share * boundary + (1 - share) * whole) + whole


def _recomputed(model: ModelConfig, parallel: ParallelConfig) -> int:
    assert model.recompute_num_layers is not None
    return model.recompute_num_layers * (parallel.virtual_pipeline_model_parallel_size or 1)


def _bytes_of_layer(architecture: Architecture, model: ModelConfig) -> tuple[float, float]:
    """Of a token: what lies between the norms, and what tensor parallelism always shares."""
    hidden, queries = architecture.hidden_size, architecture.attention_size
    keys = architecture.num_key_value_heads * architecture.head_dim
    selective = model.recompute_modules if model.recompute is Recompute.selective else []
    attention = 0 if "core_attn" in selective else 2 * queries  # the rest of it is needed to compute that again
    inner = 0 if "mlp" in selective else 6 * architecture.intermediate_size
    return 8 * hidden, 4 * queries + 8 * keys + attention + inner


def _layers_in_flight(parallel: ParallelConfig, load: Load, layers: int, stage: int) -> float:
    """Layers times micro-batches that a stage holds at once.

    1F1B has a stage run ahead by as many micro-batches as stages follow it; the interleaved schedule runs ahead by
    twice as many model chunks, and by one round of all chunks but one (megatron-core's
    get_pp_rank_microbatches in pipeline_parallel/schedules.py).
    """
    stages, virtual = parallel.pipeline_model_parallel_size, parallel.virtual_pipeline_model_parallel_size
    following = stages - stage - 1
    if virtual is None:
        return layers * min(following + 1, load.micro_batches)
    chunks = min(2 * following + (virtual - 1) * stages + 1, load.micro_batches * virtual)
    return layers / virtual * chunks


def _logits(architecture: Architecture, model: ModelConfig, parallel: ParallelConfig, load: Load) -> float:
    """Those of a micro-batch and what the loss keeps beside them.

    The plain loss has them in bf16, twice in fp32 and as a gradient in bf16; megatron-core's fused one in bf16 and in
    fp32; Transformer Engine's writes the gradient over them.
    """
    kind = model.cross_entropy_fusion_impl
    if kind is CrossEntropyFusion.auto:
        kind = CrossEntropyFusion.plain if model.precision is Precision.fp32 else CrossEntropyFusion.native
    tokens = load.rows * load.length / parallel.context_parallel_size
    rows = padded_vocab_size(architecture, parallel) / parallel.tensor_model_parallel_size
    return _LOGIT_BYTES[kind] * tokens * rows
