"""Runs a forward step over the micro-batches of a step."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from megatron.core.pipeline_parallel import get_forward_backward_func

from megatron_redone.objectives.objective import Batch, ForwardStep, Report


def run_micro_batches(
    chunks: Sequence[torch.nn.Module],
    forward_step: ForwardStep,
    batches: Sequence[Batch],
    forward_only: bool,
) -> list[Report]:
    """Takes micro-batches through the pieces of a model by megatron-core's schedule.

    Args:
        chunks: This rank's pieces.
        forward_step: Of an objective.
        batches: This data-parallel rank's micro-batches, all of one shape, as many as on the other ranks.
        forward_only: Leaves out the backward pass.

    Returns:
        What its loss function reported of each, in order; on the last stage only.
    """
    rows, length = batches[0]["tokens"].shape
    assert all(a["tokens"].shape == b["tokens"].shape for a, b in pairwise(batches)), "micro-batches differ in shape"
    # Every piece of this rank reads the same micro-batches.
    iterators = [iter(batches) for _ in chunks]
    alone = len(chunks) == 1
    return get_forward_backward_func()(
        forward_step_func=forward_step,
        data_iterator=iterators[0] if alone else iterators,
        model=chunks[0] if alone else list(chunks),
        num_microbatches=len(batches),
        seq_length=length,
        micro_batch_size=rows,
        forward_only=forward_only,
    )
