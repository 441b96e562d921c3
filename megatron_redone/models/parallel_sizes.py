"""Refuses parallel sizes that a model or a sequence length cannot be cut into, before anything is built."""

from megatron_redone.architectures import Architecture
from megatron_redone.config.parallel import ContextExchange, ParallelConfig
from megatron_redone.errors import UserError


def check_parallel_sizes(architecture: Architecture, parallel: ParallelConfig, seq_length: int) -> None:
    """Raises a UserError that names the numbers which do not divide.

    Args:
        architecture: The model.
        parallel: The sizes.
        seq_length: Tokens of a row.
    """
    tensor = parallel.tensor_model_parallel_size
    for what, count in (
        ("attention heads", architecture.num_attention_heads),
        ("key/value heads", architecture.num_key_value_heads),
        ("channels of the feed-forward part", architecture.intermediate_size),
    ):
        if count % tensor:
            raise UserError(f"tensor_model_parallel_size: {tensor} does not divide the model's {count} {what}")
    layers_of_stages(architecture, parallel)
    _check_sequence(architecture, parallel, seq_length)
    if parallel.context_parallel_exchange is ContextExchange.heads:
        _check_heads(architecture, parallel)


def layers_of_stages(architecture: Architecture, parallel: ParallelConfig) -> list[int]:
    """How many layers each pipeline stage holds, in all of its model chunks.

    Raises:
        UserError: they cannot be shared out so.
    """
    layers, stages = architecture.num_hidden_layers, parallel.pipeline_model_parallel_size
    ends = (parallel.num_layers_in_first_pipeline_stage, parallel.num_layers_in_last_pipeline_stage)
    fixed = [count for count in ends if count is not None]
    left, sharing = layers - sum(fixed), stages - len(fixed)
    if left < sharing or (left % sharing if sharing else left):
        raise UserError(_cannot_be_cut(layers, parallel))
    each = left // sharing if sharing else 0
    counts = [each if ends[0] is None else ends[0], *[each] * (stages - 2), each if ends[1] is None else ends[1]]
    virtual = parallel.virtual_pipeline_model_parallel_size or 1
    if any(count % virtual for count in counts[:stages]):
        raise UserError(_cannot_be_cut(layers, parallel))
    return counts[:stages]


def _cannot_be_cut(layers: int, parallel: ParallelConfig) -> str:
    stages, virtual = parallel.pipeline_model_parallel_size, parallel.virtual_pipeline_model_parallel_size or 1
    first, last = parallel.num_layers_in_first_pipeline_stage, parallel.num_layers_in_last_pipeline_stage
    if first is None and last is None:
        return (
            f"pipeline_model_parallel_size: the model's {layers} layers cannot be cut into {stages * virtual} equal "
            f"model chunks (pipeline {stages} x virtual {virtual})"
        )
    return (
        f"num_layers_in_first_pipeline_stage, num_layers_in_last_pipeline_stage: with {first or 'an equal share'} in "
        f"the first of {stages} stages and {last or 'an equal share'} in the last, the model's {layers} layers "
        f"cannot be shared out in {virtual} model chunks a stage"
    )


def _check_sequence(architecture: Architecture, parallel: ParallelConfig, seq_length: int) -> None:
    context = parallel.context_parallel_size
    if context > 1 and seq_length % (2 * context):
        raise UserError(
            f"seq_length: {seq_length} is not a multiple of {2 * context} (2 x context_parallel_size {context})"
        )
    tensor = parallel.tensor_model_parallel_size
    if parallel.sequence_parallel and (seq_length // context) % tensor:
        raise UserError(
            f"seq_length: {seq_length} does not divide into {context * tensor} parts (context_parallel_size {context} "
            f"x tensor_model_parallel_size {tensor} with sequence_parallel)"
        )
    window = architecture.sliding_window
    if window is not None and seq_length > window:
        raise UserError(f"seq_length: {seq_length} exceeds the model's sliding window of {window}, not supported")


def _check_heads(architecture: Architecture, parallel: ParallelConfig) -> None:
    context, tensor = parallel.context_parallel_size, parallel.tensor_model_parallel_size
    for what, count in (
        ("attention heads", architecture.num_attention_heads),
        ("key/value heads", architecture.num_key_value_heads),
    ):
        if count // tensor % context:
            raise UserError(
                f"context_parallel_exchange: the {count // tensor} {what} of a tensor-parallel process cannot be "
                f"shared out among {context} (context_parallel_size); take keys"
            )


def check_micro_batches(count: int, parallel: ParallelConfig) -> None:
    """Refuses a number of micro-batches that an interleaved pipeline cannot take in turns."""
    stages = parallel.pipeline_model_parallel_size
    if parallel.virtual_pipeline_model_parallel_size is not None and count % stages:
        raise UserError(
            f"global_batch_size: gives each process {count} micro-batches, which the interleaved pipeline of {stages} "
            f"stages cannot take in turns; make them a multiple of {stages}"
        )


def padded_vocab_size(architecture: Architecture, parallel: ParallelConfig) -> int:
    """Embedding rows over all tensor-parallel ranks.

    Rows come from the config.json, never from the tokenizer, which may have fewer. They are padded to a
    multiple of 128 a rank, which matrix kernels like, so their number depends on that size: a checkpoint
    that leaves the run is cut back to `vocab_size`.
    """
    multiple = 128 * parallel.tensor_model_parallel_size
    return -(-architecture.vocab_size // multiple) * multiple
