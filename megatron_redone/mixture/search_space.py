"""What a search varies: weights of parts, each a source or a group of sources whose ratios stay as they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """The simplex over some parts, with their prior and caps. P parts, S sources.

    Attributes:
        parts: Their names.
        sources: Of each part its sources' weights, `[P, S]`; every row sums to 1.
        prior: The weights that the penalty draws to, `[P]`, all above 0; they sum to 1.
        caps: The greatest weight of each part, `[P]`; they sum to 1 or more.
    """

    parts: Sequence[str]
    sources: np.ndarray
    prior: np.ndarray
    caps: np.ndarray

    def mixture(self, weights: np.ndarray) -> np.ndarray:
        """Weights of parts `[..., P]` as weights of sources `[..., S]`."""
        return weights @ self.sources


def space_of_sources(names: Sequence[str], prior: np.ndarray, caps: np.ndarray) -> SearchSpace:
    """Every source is a part."""
    return SearchSpace(parts=list(names), sources=np.eye(len(names)), prior=prior, caps=caps)


def space_with_group(
    names: Sequence[str], prior: np.ndarray, caps: np.ndarray, kept: Mapping[str, float]
) -> SearchSpace:
    """The sources that are kept are one part, in the ratios of their weights; every other source is a part.

    Source: mixture reuse of Olmix (arXiv 2602.12237).

    Args:
        names: Of all sources, those that are kept among them.
        prior: Of the sources, `[S]`.
        caps: Of the sources, `[S]`.
        kept: The former weights of the sources that are kept; not all are 0.
    """
    former = np.array([kept.get(name, 0.0) for name in names])
    ratios = former / former.sum()
    is_kept = np.array([name in kept for name in names])
    others = np.flatnonzero(~is_kept)
    held = ratios > 0
    return SearchSpace(
        parts=[" + ".join(name for name in names if name in kept), *(names[int(i)] for i in others)],
        sources=np.vstack([ratios, np.eye(len(names))[others]]),
        prior=np.array([prior[is_kept].sum(), *prior[others]]),
        caps=np.array([min(1.0, (caps[held] / ratios[held]).min()), *caps[others]]),
    )


def within_caps(weights: np.ndarray, caps: np.ndarray) -> np.ndarray:
    """The nearest weights by Kullback-Leibler divergence that sum to 1 and exceed no cap: a scale, and a cut.

    Args:
        weights: Positive, `[P]` or `[N, P]`.
        caps: `[P]`, of sum 1 or more.
    """
    rows = np.atleast_2d(weights).astype(float)
    rows = np.maximum(rows, 1e-300)
    # Scaled by s, the parts in descending order of weight / cap are cut first.
    order = np.argsort(-rows / caps, axis=1)
    sorted_rows, sorted_caps = np.take_along_axis(rows, order, 1), np.broadcast_to(caps, rows.shape)
    sorted_caps = np.take_along_axis(sorted_caps, order, 1)
    zero = np.zeros((len(rows), 1))
    cut = np.hstack([zero, np.cumsum(sorted_caps, axis=1)[:, :-1]])  # the sum of the caps of those before
    left = np.cumsum(sorted_rows[:, ::-1], axis=1)[:, ::-1]  # the sum of the weights from here on
    scales = np.maximum(1 - cut, 0.0) / left
    fits = scales * sorted_rows <= sorted_caps * (1 + 1e-12)
    first = np.where(fits.any(axis=1), fits.argmax(axis=1), rows.shape[1] - 1)
    scale = np.take_along_axis(scales, first[:, None], 1)
    return np.minimum(rows * scale, caps).reshape(np.shape(weights))
