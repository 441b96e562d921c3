"""Seeds.

Training draws no random numbers after the weights (there is no dropout), so a checkpoint holds no generator's state.
"""

import random

import numpy as np
import torch
from megatron.core import tensor_parallel


def seed_all(seed: int, pipeline_rank: int) -> None:
    """Seeds Python, numpy and torch, and megatron-core's trackers (dropout differs over tensor-parallel ranks).

    Args:
        seed: The run's seed.
        pipeline_rank: Stages hold different layers and must not draw the same numbers.
    """
    seed += 100 * pipeline_rank
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    tensor_parallel.model_parallel_cuda_manual_seed(seed, force_reset_rng=True)


def seed_for_cuda_graphs(seed: int) -> None:
    """Takes Transformer Engine's trackers, whose states a CUDA graph can hold; before layers are built."""
    tensor_parallel.model_parallel_cuda_manual_seed(seed, te_rng_tracker=True, force_reset_rng=True)
