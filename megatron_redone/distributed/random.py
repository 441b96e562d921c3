"""Seeds, and the state of every generator that training draws from."""

import random
from typing import Any

import numpy as np
import torch
from megatron.core import tensor_parallel
from megatron.core.tensor_parallel.random import CudaRNGStatesTracker


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


def random_state() -> dict[str, Any]:
    """The state of all generators of this process, for a checkpoint."""
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(),
        "tracker": _tracker().get_states(),
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Puts back what `random_state` returned."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    torch.cuda.set_rng_state(state["cuda"])
    _tracker().set_states(state["tracker"])


def _tracker() -> CudaRNGStatesTracker:
    tracker = tensor_parallel.get_cuda_rng_tracker()
    assert tracker is not None
    return tracker
