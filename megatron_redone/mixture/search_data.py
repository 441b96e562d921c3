"""The datasets of a search: what they hold, and whether a search over them can mean anything."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from megatron_redone.config.data import DataSource
from megatron_redone.config.optimize_mixture import OptimizeMixtureConfig
from megatron_redone.errors import UserError
from megatron_redone.formats.file_record import sample_sha256
from megatron_redone.formats.indexed import IndexedDataset
from megatron_redone.metrics.progress import scaled
from megatron_redone.mixture.held_out_overlap import overlap
from megatron_redone.mixture.initial_model import find_initial_model

log = logging.getLogger(__name__)

_LEAST_CAP = 1e-3  # of a weight: what is capped below cannot be told from nothing
_MANY_EPOCHS = 4.0


@dataclass(frozen=True, kw_only=True)
class SearchData:
    """What the sources hold. S sources.

    Attributes:
        names: Of the sources.
        tokens: Of each, `[S]`.
        prior: Weights that sum to 1, `[S]`.
        caps: The greatest weights in the run to come, `[S]`.
        facts: What tells their content and that of the target sets from others, by name, and what tells the model that
            small runs begin with from others, as JSON holds it.
        initial_folder: Of the small runs' first weights; None where they are drawn.
    """

    names: list[str]
    tokens: np.ndarray
    prior: np.ndarray
    caps: np.ndarray
    facts: dict[str, Any]
    initial_folder: Path | None


def open_search_data(config: OptimizeMixtureConfig) -> SearchData:
    """Opens and checks the datasets.

    Raises:
        UserError: one is missing, too small, or a target set stands in a source; the model is missing.
    """
    opened = {source.label: IndexedDataset(source.path) for source in config.sources}
    targets = {one.label: IndexedDataset(one.path) for one in config.target}
    tokens = np.array([dataset.token_count for dataset in opened.values()], dtype=float)
    _check_sizes(config, opened, targets)
    caps = _caps(config, list(opened), tokens)
    _check_overlap(config, opened, targets)
    given = [source.prior for source in config.sources]
    prior = tokens if given[0] is None else np.array(given, dtype=float)
    initial = find_initial_model(config.proxy)
    return SearchData(
        names=list(opened),
        tokens=tokens,
        prior=prior / prior.sum(),
        caps=caps,
        facts={
            "sources": _content(config.sources, opened),
            "target": _content(config.target, targets),
            "model": initial.facts,
        },
        initial_folder=initial.folder,
    )


def _content(sets: Sequence[DataSource], opened: dict[str, IndexedDataset]) -> dict[str, Any]:
    return {one.label: [opened[one.label].token_count, sample_sha256(opened[one.label].paths.bin)] for one in sets}


def _check_sizes(
    config: OptimizeMixtureConfig, sources: dict[str, IndexedDataset], targets: dict[str, IndexedDataset]
) -> None:
    least = config.proxy.seq_length + 1
    for where, sets in (("sources", sources), ("target", targets)):
        for name, dataset in sets.items():
            if dataset.token_count < least:
                raise UserError(
                    f"{where}: '{name}' has {dataset.token_count:,} tokens, fewer than one sample of "
                    f"proxy.seq_length + 1 = {least:,}; leave it out, or lower proxy.seq_length"
                )
    for name, dataset in sources.items():
        epochs = config.proxy.train_tokens / dataset.token_count
        if epochs > _MANY_EPOCHS:
            log.warning("sources: a proxy on '%s' alone reads it %.1f times: too long for so few tokens", name, epochs)


def _caps(config: OptimizeMixtureConfig, names: list[str], tokens: np.ndarray) -> np.ndarray:
    if config.train_tokens is None:
        return np.ones(len(tokens))
    caps = np.minimum(1.0, config.max_epochs * tokens / config.train_tokens)
    for name, cap, count in zip(names, caps, tokens, strict=True):
        if cap < _LEAST_CAP:
            raise UserError(
                f"sources: '{name}' has {scaled(count)} tokens; read max_epochs={config.max_epochs:g} times they are "
                f"{100 * cap:.2g} % of train_tokens={scaled(config.train_tokens)}, too little to be searched for; "
                "leave it out"
            )
    if caps.sum() < 1:
        raise UserError(
            f"train_tokens: {scaled(config.train_tokens)} are more than all sources give when each is read "
            f"max_epochs={config.max_epochs:g} times ({scaled(config.max_epochs * tokens.sum())}); lower it, raise "
            "max_epochs, or add text"
        )
    return caps


def _check_overlap(
    config: OptimizeMixtureConfig, sources: dict[str, IndexedDataset], targets: dict[str, IndexedDataset]
) -> None:
    most = config.proxy.target_samples * config.proxy.seq_length
    for target, held_out in targets.items():
        for source, dataset in sources.items():
            share = overlap(held_out, dataset, most)
            if share > config.max_overlap:
                raise UserError(
                    f"target: {100 * share:.0f} % of '{target}' stands in the source '{source}', which would win by "
                    f"heart; take held-out text, or raise max_overlap (now {config.max_overlap:g})"
                )
