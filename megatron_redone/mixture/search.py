"""A search from its first proxy to the mixture that it proposes, and the table beside it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from megatron_redone.config.optimize_mixture import OptimizeMixtureConfig
from megatron_redone.errors import UserError
from megatron_redone.mixture import baselines
from megatron_redone.mixture.design import Design, make_design, rounded
from megatron_redone.mixture.former_search import FormerSearch
from megatron_redone.mixture.proposer import Proposal, propose
from megatron_redone.mixture.proxy import Proxy
from megatron_redone.mixture.proxy_runs import ProxyRuns
from megatron_redone.mixture.regressions import FittedRegression, fit_all
from megatron_redone.mixture.search_data import SearchData
from megatron_redone.mixture.search_space import SearchSpace, space_of_sources, space_with_group

log = logging.getLogger(__name__)

_MORE_THAN_PARTS = 2  # a floor of the losses, and one to spare
_LEAST_KEPT_OUT = 3
_LEAST_WEIGHT = 5e-4  # what is proposed below is left out of the blend


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search came to.

    Attributes:
        design: Its mixtures of parts.
        proxies: Its runs, one a row of the design.
        losses: Of each and of each target set, `[N, T]`; NaN where it diverged.
        regressions: The best first; empty where there was nothing to search for.
        proposal: By the best; weights of parts.
        mixture: The same as weights of sources, at four decimals, by name.
        singles: The target's loss of proxies on one source alone, by its name.
        noise: The deviation between seeds of one mixture.
        rows: The table, by mean loss.
    """

    space: SearchSpace
    design: Design
    proxies: list[Proxy]
    losses: np.ndarray
    regressions: list[FittedRegression]
    proposal: Proposal
    mixture: dict[str, float]
    singles: dict[str, float]
    noise: float
    rows: list[baselines.Row]


class Search:
    """The steps of a search; each can be asked again at no cost, for its runs lie on the disk."""

    def __init__(
        self, config: OptimizeMixtureConfig, data: SearchData, former: FormerSearch | None, runs: ProxyRuns
    ) -> None:
        """Lays out space and design.

        Raises:
            UserError: there are too few proxies for so many sources.
        """
        self._config, self._data, self._former, self._runs = config, data, former, runs
        self._target_weights = np.array([one.weight for one in config.target])
        self._target_weights = self._target_weights / self._target_weights.sum()
        if former is None:
            self.space = space_of_sources(data.names, data.prior, data.caps)
        else:
            self.space = space_with_group(data.names, data.prior, data.caps, former.kept)
        self._check_caps()
        self.design = self._design()
        self.proxies = [self._of_design(number) for number in range(len(self.design.weights))]
        self._seeds = [config.seed + 1 + number for number in range(config.seeds)]

    def first_runs(self) -> list[Proxy]:
        """What can be trained from the start: the design, single sources, and the baselines that are known."""
        known = [proxy for mixture in self._known_baselines().items() for proxy in self._over_seeds(*mixture)]
        return [*self.proxies, *self._singles().values(), *known]

    def finish(self) -> Found:
        """Fits, proposes, trains the winner and the best single source, and compares. The first runs have ended.

        Raises:
            UserError: too many runs diverged, or the target's loss is noise.
        """
        losses = np.array([self._losses(proxy) for proxy in self.proxies]).reshape(len(self.proxies), -1)
        noise = self._check_noise(losses)
        regressions = self._fit(losses)
        proposal = self._propose(regressions)
        mixture = self._blend(proposal)
        singles = {name: self._total(proxy) for name, proxy in self._singles().items()}
        singles = {name: loss for name, loss in singles.items() if np.isfinite(loss)}
        mixtures = {baselines.WINNER: mixture, **self._known_baselines()}
        if singles:
            mixtures[baselines.BEST_SINGLE] = {min(singles, key=lambda name: singles[name]): 1.0}
        self._runs.train([p for one in mixtures.items() for p in self._over_seeds(*one)], "winner and baselines")
        return Found(
            space=self.space,
            design=self.design,
            proxies=self.proxies,
            losses=losses,
            regressions=regressions,
            proposal=proposal,
            mixture=mixture,
            singles=singles,
            noise=noise,
            rows=baselines.table(mixtures, {name: self._by_seed(name, weights) for name, weights in mixtures.items()}),
        )

    def _check_caps(self) -> None:
        if self.space.caps.sum() < 1 - 1e-9:
            raise UserError(
                "reuse: in their former ratios the sources cannot fill train_tokens within max_epochs; search without "
                "reuse, lower train_tokens, or raise max_epochs"
            )

    def _design(self) -> Design:
        parts, config = len(self.space.parts), self._config
        if parts == 1:
            return Design(weights=np.empty((0, 1)), kept_out=np.empty(0, dtype=bool))
        fitted = config.proxies - config.kept_out
        if fitted < parts + _MORE_THAN_PARTS:
            raise UserError(
                f"proxies: {config.proxies} less the {config.kept_out} of kept_out leave {max(0, fitted)} to fit "
                f"{parts} sources; take {parts + _MORE_THAN_PARTS + config.kept_out} or more"
            )
        return make_design(self.space, config.proxies, config.kept_out, config.seed)

    def _of_design(self, number: int) -> Proxy:
        return Proxy(
            name=f"design {number}", weights=self._sources(self.design.weights[number]), seed=self._config.seed
        )

    def _sources(self, parts: np.ndarray) -> dict[str, float]:
        """Weights of parts as those of sources, by name, at four decimals."""
        return dict(zip(self._data.names, rounded(self.space.mixture(parts)[None])[0].tolist(), strict=True))

    def _singles(self) -> dict[str, Proxy]:
        """One run for each source alone; of those whose ratios are kept, for the one that was best before."""
        kept = {} if self._former is None else self._former.kept
        names = [name for name in self._data.names if name not in kept]
        if self._former is not None and self._former.best_single is not None:
            names.append(self._former.best_single)
        return {
            name: Proxy(
                name=f"{name} alone",
                weights={other: float(other == name) for other in self._data.names},
                seed=self._config.seed,
            )
            for name in names
        }

    def _known_baselines(self) -> dict[str, dict[str, float]]:
        names, tokens = self._data.names, self._data.tokens
        found = {
            baselines.PRIOR: self._data.prior,
            baselines.PROPORTIONAL: tokens / tokens.sum(),
            baselines.UNIFORM: np.full(len(names), 1 / len(names)),
        }
        return {
            name: dict(zip(names, rounded(weights[None])[0].tolist(), strict=True)) for name, weights in found.items()
        }

    def _over_seeds(self, name: str, weights: Mapping[str, float]) -> list[Proxy]:
        return [Proxy(name=f"{name}, seed {seed}", weights=weights, seed=seed) for seed in self._seeds]

    def _losses(self, proxy: Proxy) -> list[float]:
        result = self._runs.result(proxy)
        losses = {} if result is None else result.losses
        return [losses.get(one.label, np.nan) for one in self._config.target]

    def _total(self, proxy: Proxy) -> float:
        return float(np.array(self._losses(proxy)) @ self._target_weights)

    def _by_seed(self, name: str, weights: Mapping[str, float]) -> dict[int, float]:
        totals = {proxy.seed: self._total(proxy) for proxy in self._over_seeds(name, weights)}
        return {seed: loss for seed, loss in totals.items() if np.isfinite(loss)}

    def _check_noise(self, losses: np.ndarray) -> float:
        distinct = {tuple(weights.items()): (name, weights) for name, weights in self._known_baselines().items()}
        over_seeds = [list(self._by_seed(*one).values()) for one in distinct.values()]
        noise, degrees = baselines.seed_noise(over_seeds)
        measured = (losses @ self._target_weights)[np.isfinite(losses).all(axis=1)]
        if len(measured) > 1 and not baselines.differ_by_more_than_seeds(measured, noise, degrees):
            raise UserError(
                f"target: its loss is noise: it differs by {np.std(measured):.4f} between mixtures and by {noise:.4f} "
                "between seeds of one; take longer proxies, more target_samples, or a target that the sources bear on"
            )
        return noise

    def _fit(self, losses: np.ndarray) -> list[FittedRegression]:
        if not len(self.proxies):
            return []
        is_measured = np.isfinite(losses).all(axis=1)
        kept_out = int((is_measured & self.design.kept_out).sum())
        fitted = int(is_measured.sum()) - kept_out
        if fitted < len(self.space.parts) + _MORE_THAN_PARTS or kept_out < _LEAST_KEPT_OUT:
            raise UserError(
                f"proxies: {len(self.proxies) - int(is_measured.sum())} of {len(self.proxies)} diverged, too few are "
                "left; lower proxy.optimizer.lr"
            )
        return fit_all(self.design, losses, self._target_weights)

    def _propose(self, regressions: Sequence[FittedRegression]) -> Proposal:
        if not regressions:
            return Proposal(weights=np.ones(1), loss=float("nan"), divergence=0.0, gap=None)
        return propose(regressions[0].regression, self.space, self._config.kl_weight, self._config.seed)

    def _blend(self, proposal: Proposal) -> dict[str, float]:
        weights = self.space.mixture(proposal.weights)
        weights = np.where(weights < _LEAST_WEIGHT, 0.0, weights)
        return dict(zip(self._data.names, rounded(weights[None] / weights.sum())[0].tolist(), strict=True))


def effects(found: Found, points: int = 21) -> dict[str, list[tuple[float, float]]]:
    """For each part the predicted loss over its weight, the others in the ratios that the proposal gives them.

    Args:
        found: A search with a regression.
        points: From weight 0 to 1.
    """
    curves = {}
    for number, part in enumerate(found.space.parts):
        others = np.delete(found.proposal.weights, number)
        prior = np.delete(found.space.prior, number)
        others = others / others.sum() if others.sum() > 0 else prior / prior.sum()
        shares = np.linspace(0, 1, points)
        mixtures = np.insert(np.outer(1 - shares, others), number, shares, axis=1)
        losses = found.regressions[0].regression.predict(mixtures)
        curves[part] = list(zip(shares.tolist(), losses.tolist(), strict=True))
    return curves
