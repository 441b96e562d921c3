"""Simulated logs of post-view search, whose truth is known.

A page's candidates have a relevance. An old policy, which sees it through noise, chooses what is shown; another policy
sees it better. Clicks follow relevance, and on slates the position: lower places are looked at less often, and not at
all below a suggestion that satisfied.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

EXAMINED = np.array([1.0, 0.6, 0.35])
SATISFIED = 0.7  # of the clicks end the reading of a slate


@dataclass(frozen=True)
class Pages:
    """Probabilities of both policies over candidates, and of a click on each that is looked at: float64 [N, K]."""

    logging: np.ndarray
    policy: np.ndarray
    click: np.ndarray


def pages(count: int, random: np.random.Generator, candidates: int = 6, sharpness: float = 2.0) -> Pages:
    """Draws pages; the other policy is the further from the old one the sharper it is."""
    relevance = random.normal(0, 1, (count, candidates))
    old = _softmax(0.5 * relevance + random.normal(0, 1, relevance.shape))
    new = _softmax(sharpness * (relevance + random.normal(0, 0.5, relevance.shape)))
    return Pages(old, new, 1 / (1 + np.exp(3.2 - 0.9 * relevance)))


def single_log(drawn: Pages, random: np.random.Generator) -> dict[str, Any]:
    """Shows one suggestion a page; `expected` is of a model that expects too many clicks."""
    action = _draw(drawn.logging, random)
    rows = np.arange(len(action))
    return {
        "action": action,
        "click": (random.random(len(action)) < drawn.click[rows, action]).astype(float),
        "propensity": drawn.logging[rows, action],
        "policy": drawn.policy,
        "expected": np.clip(1.4 * drawn.click, 0, 1),
        "switch_above": 5.0,
    }


def single_truth(drawn: Pages) -> float:
    """Clicks a page under the other policy."""
    return float((drawn.policy * drawn.click).sum(1).mean())


def slate_log(
    drawn: Pages, random: np.random.Generator, length: int = 3, satisfied: float = SATISFIED
) -> dict[str, Any]:
    """Fills each position by itself, the same suggestion twice if it happens: marginals are conditionals then."""
    places = [_draw(drawn.logging, random) for _ in range(length)]
    shown = np.stack(places, 1)
    return {
        "clicks": slate_clicks(drawn, shown, random, satisfied),
        "logging": _both(np.take_along_axis(drawn.logging, shown, 1)),
        "policy": _both(np.take_along_axis(drawn.policy, shown, 1)),
    }


def slate_truth(
    drawn: Pages, random: np.random.Generator, length: int = 3, satisfied: float = SATISFIED
) -> tuple[float, float]:
    """Clicks a page of slates that the other policy fills, and the share of pages with a click at all."""
    shown = np.stack([_draw(drawn.policy, random) for _ in range(length)], 1)
    clicks = slate_clicks(drawn, shown, random, satisfied)
    return float(clicks.sum(1).mean()), float(clicks.any(1).mean())


def slate_clicks(drawn: Pages, shown: np.ndarray, random: np.random.Generator, satisfied: float) -> np.ndarray:
    """Clicks at each position, top down, until one satisfies, as a share of them does: float64 [N, L].

    Where none does, a click depends on its own position and suggestion alone.
    """
    clicks = np.zeros(shown.shape)
    is_reading = np.ones(len(shown), bool)
    for position in range(shown.shape[1]):
        chance = EXAMINED[position] * np.take_along_axis(drawn.click, shown[:, position : position + 1], 1)[:, 0]
        clicks[:, position] = is_reading & (random.random(len(shown)) < chance)
        is_reading &= ~((clicks[:, position] == 1) & (random.random(len(shown)) < satisfied))
    return clicks


def _both(probabilities: np.ndarray) -> dict[str, np.ndarray]:
    return {"marginal": probabilities, "conditional": probabilities}


def _draw(probabilities: np.ndarray, random: np.random.Generator) -> np.ndarray:
    thresholds = probabilities.cumsum(1)
    return (random.random((len(probabilities), 1)) * thresholds[:, -1:] > thresholds).sum(1)


def _softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)
