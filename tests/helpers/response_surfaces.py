"""Known response surfaces over mixtures: the loss of each of two target sets, without any training."""

from collections.abc import Callable

import numpy as np

from megatron_redone.mixture.design import make_design
from megatron_redone.mixture.proposer import propose
from megatron_redone.mixture.regressions import fit_all
from megatron_redone.mixture.search_space import SearchSpace, space_of_sources, within_caps

Surface = Callable[[np.ndarray], np.ndarray]
"""Losses `[N, T]` of mixtures `[N, P]`."""

# Between seeds of one mixture, in nats a token, of small runs; tools/benchmarks/mixture.py puts in what it measures.
SEED_NOISE = 0.01
TARGET_WEIGHTS = np.array([0.6, 0.4])


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


def gap(surface: Surface, parts: int, seed: int, noise: float = SEED_NOISE) -> tuple[float, str]:
    """How far the true loss of what a search proposes is above the best within the caps, as a fraction of that.

    Returns:
        That, and the name of the regression that was chosen.
    """
    random, there = np.random.default_rng(100 + seed), space(parts, seed)
    design = make_design(there, 64, 16, seed)
    losses = surface(design.weights) + random.normal(0, noise, (64, 2))
    [best, *_] = fit_all(design, losses, TARGET_WEIGHTS)
    proposal = propose(best.regression, there, kl_weight=0.02, seed=0)
    everywhere = within_caps(random.dirichlet(np.full(parts, 0.5), 100_000) + 1e-9, there.caps)
    least = float((surface(everywhere) @ TARGET_WEIGHTS).min())
    return float((surface(proposal.weights[None]) @ TARGET_WEIGHTS)[0]) / least - 1, best.name
