"""Mixtures to be tried: how the proxies of a search are spread over its space."""

from dataclasses import dataclass

import numpy as np

from megatron_redone.mixture.search_space import SearchSpace

_FEW_PARTS = 8
_CANDIDATES = 4096
_MIN_STRENGTH, _MAX_STRENGTH = 0.1, 5.0  # of RegMix's Dirichlet distributions
_MOST_OF_PRIOR = 15.0  # RegMix refuses weights over this many times the prior
_DECIMALS = 4


@dataclass(frozen=True, kw_only=True)
class Design:
    """The mixtures of a search. N proxies, P parts.

    Attributes:
        weights: `[N, P]`, rows that sum to 1; the first P are the parts alone.
        kept_out: `bool[N]`: those by which regressions are compared, and which none of them sees.
    """

    weights: np.ndarray
    kept_out: np.ndarray


def make_design(space: SearchSpace, proxies: int, kept_out: int, seed: int) -> Design:
    """Spreads proxies over a space: each part alone, then evenly for up to eight parts, as RegMix does for more.

    Args:
        space: Its parts and prior. Its caps are those of the run to come: proxies may go beyond them.
        proxies: Of the search, those that are kept out among them; more than parts and kept-out ones together.
        kept_out: Chosen by chance among those that mix.
        seed: Of all chances.
    """
    parts = len(space.parts)
    random = np.random.default_rng(seed)
    mixing = proxies - parts
    spread = _evenly if parts <= _FEW_PARTS else _as_regmix
    weights = np.vstack([np.eye(parts), spread(space, mixing, random)])
    chosen = parts + random.choice(mixing, kept_out, replace=False)
    is_kept_out = np.zeros(proxies, dtype=bool)
    is_kept_out[chosen] = True
    return Design(weights=rounded(weights), kept_out=is_kept_out)


def _evenly(space: SearchSpace, count: int, random: np.random.Generator) -> np.ndarray:
    """Each next mixture is, of many drawn evenly, the one farthest from all before (in Hellinger's distance).

    Kennard and Stone, "Computer aided design of experiments", Technometrics 11 (1969).
    """
    parts = len(space.parts)
    candidates = random.dirichlet(np.ones(parts), _CANDIDATES)
    roots = np.sqrt(candidates)
    chosen: list[int] = []
    before = np.vstack([np.eye(parts), np.sqrt(space.prior)[None]])
    nearest = np.min([((roots - point) ** 2).sum(1) for point in before], axis=0)
    for _ in range(count):
        farthest = int(nearest.argmax())
        chosen.append(farthest)
        nearest = np.minimum(nearest, ((roots - roots[farthest]) ** 2).sum(1))
    return candidates[chosen]


def _as_regmix(space: SearchSpace, count: int, random: np.random.Generator) -> np.ndarray:
    """Dirichlet(root of the prior x strength), strengths log-spaced (RegMix, arXiv 2407.01492, its code's defaults)."""
    tempered = np.sqrt(space.prior) / np.sqrt(space.prior).sum()
    most = np.minimum(_MOST_OF_PRIOR * space.prior, 1.0)
    rows = []
    for strength in random.permutation(np.geomspace(_MIN_STRENGTH, _MAX_STRENGTH, count)):
        draws = random.dirichlet(np.maximum(tempered * strength, 1e-3), 256)
        fit = draws[(draws <= most).all(axis=1)]
        rows.append(fit[0] if len(fit) else space.prior)
    return np.array(rows).reshape(count, len(space.parts))


def rounded(weights: np.ndarray) -> np.ndarray:
    """Weights `[N, P]` of sum 1 at four decimals: a blend's schedule remembers as far as the smallest weight asks."""
    units = np.floor(weights * 10**_DECIMALS + 1e-9)
    missing = (10**_DECIMALS - units.sum(axis=1)).astype(int)
    order = np.argsort(units - weights * 10**_DECIMALS, axis=1, kind="stable")
    for row, (count, places) in enumerate(zip(missing, order, strict=True)):
        units[row, places[:count]] += 1
    return units / 10**_DECIMALS
