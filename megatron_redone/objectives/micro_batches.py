"""Runs a forward step over the micro-batches of a step."""

from collections.abc import Sequence
from itertools import pairwise, tee

import torch
from megatron.core.pipeline_parallel import get_forward_backward_func

from megatron_redone.batches.micro_batch import MicroBatch
from megatron_redone.objectives.objective import ForwardPass, Report


def run_micro_batches(
    model_chunks: Sequence[torch.nn.Module],
    forward_pass: ForwardPass,
    micro_batches: Sequence[MicroBatch],
    *,
    forward_only: bool,
) -> list[Report]:
    """Takes micro-batches through the chunks of a model by megatron-core's schedule.

    Args:
        model_chunks: This rank's.
        forward_pass: An objective, or another use of a model's output.
        micro_batches: This data-parallel rank's, at least one, all of one shape, as many as on the other ranks.
        forward_only: Leaves out the backward pass.

    Returns:
        What the loss function reported of each, in order; on the last stage only.
    """
    shapes = [micro_batch.tokens.shape for micro_batch in micro_batches]
    assert shapes, "a step needs a micro-batch"
    assert all(a == b for a, b in pairwise(shapes)), "micro-batches differ in shape"
    rows, length = shapes[0]
    # Every chunk of this rank reads the same micro-batches: each is placed when the first chunk asks for it and
    # forgotten when the last one has it.
    placed = list(tee(map(forward_pass.row_placer.place, micro_batches), len(model_chunks)))
    is_one_chunk = len(model_chunks) == 1
    return get_forward_backward_func()(
        forward_step_func=forward_pass.forward_step,
        data_iterator=placed[0] if is_one_chunk else placed,  # type: ignore[arg-type]
        model=model_chunks[0] if is_one_chunk else list(model_chunks),
        num_microbatches=len(micro_batches),
        seq_length=length,
        micro_batch_size=rows,
        forward_only=forward_only,
    )
