"""Simulated posts, of which few are harmful, and the scores of an old and of a new model; their truth is known."""

import numpy as np

from megatron_redone.evaluation.exposure import LabelledPosts


def population(count: int, random: np.random.Generator) -> tuple[LabelledPosts, np.ndarray, np.ndarray]:
    """One post of forty is harmful, some are seen a hundred times as often as others; the new model sees better."""
    harmful = random.random(count) < 0.025
    shared = 0.5 * random.normal(0, 1, count)
    old, new = (gain * harmful + shared + random.normal(0, 0.9, count) for gain in (1.5, 2.2))
    seen = np.ceil(random.lognormal(4, 1.2, count))
    return LabelledPosts(impressions=seen, harmful=harmful, sample_weights=np.ones(count)), old, new


def labelled(count: int, random: np.random.Generator) -> tuple[LabelledPosts, np.ndarray, np.ndarray]:
    """Posts of the same kind, of which people look at those most that the old model suspects: logging by an old policy.

    A post is labelled with a known probability, from one in eight to always, and stands for as many as that.
    """
    posts, old, new = population(count, random)
    chance = np.clip(1 / (1 + np.exp(1.5 - 1.5 * old)), 0.125, 1)
    chosen = random.random(count) < chance
    kept = LabelledPosts(
        impressions=posts.impressions[chosen], harmful=posts.harmful[chosen], sample_weights=1 / chance[chosen]
    )
    return kept, old[chosen], new[chosen]
