"""The best mixture by a regression, under a penalty on leaving the prior and caps on weights."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from megatron_redone.mixture.search_space import SearchSpace, within_caps

_STARTS = 4
_STEPS = 2000
_TOLERANCE = 1e-7  # of the objective, in the unit of losses
_SETTLED = 20  # steps that gained next to nothing, after which a surface that is not convex is left at that
_SAMPLES, _BEST = 100_000, 100  # RegMix: the mean of the best 100 of 100,000 simulated mixtures
_SAMPLES_TO_START = 5_000


class Regression(Protocol):
    """A fitted surface over mixtures of P parts. One with a `gradient` is optimised by it."""

    def predict(self, weights: np.ndarray) -> np.ndarray:
        """The loss of mixtures `[N, P]`: `[N]`."""
        ...


class _Smooth(Regression, Protocol):
    def gradient(self, weights: np.ndarray) -> np.ndarray:
        """At one mixture `[P]`: `[P]`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A mixture, and what is known of it.

    Attributes:
        weights: Of the parts, `[P]`.
        loss: Predicted.
        divergence: From the prior, in nats.
        gap: The objective is at most so far above its least value where the regression is convex; None for trees.
    """

    weights: np.ndarray
    loss: float
    divergence: float
    gap: float | None


def propose(regression: Regression, space: SearchSpace, kl_weight: float, seed: int) -> Proposal:
    """Minimises `loss(w) + kl_weight * KL(w | prior)` over the weights within the caps.

    Args:
        regression: What predicts the loss.
        space: Prior and caps.
        kl_weight: Loss that a divergence of one nat must gain.
        seed: Of the mixtures that are simulated.
    """
    is_smooth = hasattr(regression, "gradient")
    random = np.random.default_rng(seed)
    candidates = _candidates(space, random, _SAMPLES_TO_START if is_smooth else _SAMPLES)
    objective = regression.predict(candidates) + kl_weight * divergence(candidates, space.prior)
    order = np.argsort(objective, kind="stable")
    if not is_smooth:
        weights, gap = candidates[order[:_BEST]].mean(axis=0), None
    else:
        starts = [within_caps(space.prior, space.caps), *candidates[order[: _STARTS - 1]]]
        weights, gap = _descend_from_all(regression, space, kl_weight, starts)  # type: ignore[arg-type]
    return Proposal(
        weights=weights,
        loss=float(regression.predict(weights[None])[0]),
        divergence=float(divergence(weights, space.prior)),
        gap=gap,
    )


def divergence(weights: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """KL(weights | prior) in nats, of weights `[..., P]`."""
    return np.where(weights > 0, weights * np.log(np.maximum(weights, 1e-300) / prior), 0.0).sum(axis=-1)


def _candidates(space: SearchSpace, random: np.random.Generator, count: int) -> np.ndarray:
    """Mixtures within the caps, around the prior and over the whole simplex."""
    parts = len(space.parts)
    half = count // 2
    strengths = random.choice([1.0, 4.0, 16.0], half)
    around = random.standard_gamma(np.maximum(np.outer(strengths, space.prior * parts), 1e-2))
    draws = np.vstack([around, random.standard_gamma(np.ones((half, parts)))]) + 1e-12
    return within_caps(draws / draws.sum(axis=1, keepdims=True), space.caps)


def _descend_from_all(
    regression: _Smooth, space: SearchSpace, kl_weight: float, starts: list[np.ndarray]
) -> tuple[np.ndarray, float]:
    found = [_descend(regression, space, kl_weight, start) for start in starts]
    values = [_value(regression, space, kl_weight, weights) for weights in found]
    best = found[int(np.argmin(values))]
    return best, _gap(regression, space, kl_weight, best)


def _descend(regression: _Smooth, space: SearchSpace, kl_weight: float, start: np.ndarray) -> np.ndarray:
    """Composite mirror descent with the entropy as mirror map; a step is a scale and a cut in closed form.

    Beck and Teboulle, "Mirror descent and nonlinear projected subgradient methods", Operations Research Letters 31
    (2003); the penalty, being a divergence itself, is minimised exactly within every step.
    """
    weights, rate = np.maximum(start, 1e-12), 1.0
    value, settled = _value(regression, space, kl_weight, weights), 0
    for _ in range(_STEPS):
        gradient = regression.gradient(weights)
        while rate > 1e-12:
            pull = rate * kl_weight / (1 + rate * kl_weight)
            logs = (1 - pull) * (np.log(weights) - rate * gradient) + pull * np.log(space.prior)
            trial = np.maximum(within_caps(np.exp(logs - logs.max()), space.caps), 1e-12)
            new = _value(regression, space, kl_weight, trial)
            if new <= value:
                break
            rate /= 2
        else:
            break
        is_small = value - new < _TOLERANCE * 1e-3
        weights, value, rate, settled = trial, new, rate * 2, settled + 1 if is_small else 0
        if settled and (settled > _SETTLED or _gap(regression, space, kl_weight, weights) < _TOLERANCE):
            break
    return weights


def _value(regression: Regression, space: SearchSpace, kl_weight: float, weights: np.ndarray) -> float:
    return float(regression.predict(weights[None])[0] + kl_weight * divergence(weights, space.prior))


def _gap(regression: _Smooth, space: SearchSpace, kl_weight: float, weights: np.ndarray) -> float:
    """Frank and Wolfe's gap: no mixture within the caps is better by more, where the objective is convex."""
    slope = regression.gradient(weights) + kl_weight * (np.log(weights / space.prior) + 1)
    vertex, room = np.zeros_like(weights), 1.0
    for part in np.argsort(slope, kind="stable"):
        vertex[part] = min(space.caps[part], room)
        room -= vertex[part]
    return float(slope @ (weights - vertex))
