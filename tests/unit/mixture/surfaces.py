"""Known response surfaces over mixtures: the loss of each of two target sets, without any training."""

from collections.abc import Callable

import numpy as np

from megatron_redone.mixture.search_space import SearchSpace, space_of_sources

Surface = Callable[[np.ndarray], np.ndarray]
"""Losses `[N, T]` of mixtures `[N, P]`."""

# Between seeds of one mixture, as tools/benchmarks/mixture.py measured it on real sources, rounded up.
SEED_NOISE = 0.01


def log_linear(parts: int, seed: int) -> Surface:
    """Data mixing laws, one for each target set."""
    random = np.random.default_rng(seed)
    floors, slopes = random.uniform(1.5, 3, 2), random.normal(-0.3, 0.8, (2, parts))
    return lambda weights: floors + np.exp(weights @ slopes.T)


def transfer(parts: int, seed: int) -> Surface:
    """A power law in what each source gives to a target, with falling returns: not log-linear, best within."""
    random = np.random.default_rng(seed)
    floors, powers = random.uniform(1.5, 2.5, 2), random.uniform(0.2, 0.5, 2)
    gives = random.dirichlet(np.full(parts, 0.5), 2) + 0.05
    return lambda weights: floors + 1.2 * (np.sqrt(weights + 1e-3) @ gives.T) ** -powers


def space(parts: int, seed: int, cap: float = 0.6) -> SearchSpace:
    """With a prior drawn by chance."""
    prior = np.random.default_rng(seed).dirichlet(np.full(parts, 3.0))
    return space_of_sources([f"source {number}" for number in range(parts)], prior, np.full(parts, cap))
