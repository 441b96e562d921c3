"""Log-probabilities of token sequences, in batches of like length; a prefix that many share is computed once."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from megatron_redone.generation.hf_model import LoadedModel
from megatron_redone.generation.shared_prefixes import PrefixGroup, group_by_prefix

# Logits that exist at once: 64 MB in fp32. More gains nothing, and of a whole batch they would take gigabytes.
_LOGITS = 1 << 24
# Keys and values of a shared prefix may be this many times as many as the tokens of a batch.
_CACHED = 8


Advance = Callable[[int, int], None]
"""Called with how many rows are done, of how many."""


def no_progress(done: int, total: int) -> None:
    """Does nothing."""


@dataclass(frozen=True)
class Row:
    """A sequence of which some tokens are scored.

    Attributes:
        ids: All tokens.
        first: The index of the first scored token, 1 or more; those behind it are scored too.
    """

    ids: list[int]
    first: int


@dataclass(frozen=True)
class Scores:
    """What is known of rows.

    Attributes:
        sums: float64 [N], over each row's scored tokens of the natural logarithm of their probability.
        is_greedy: bool [N], whether every scored token is the likeliest one.
    """

    sums: np.ndarray
    is_greedy: np.ndarray


@dataclass(frozen=True)
class BatchLimits:
    """How large a batch may be.

    Attributes:
        rows: Sequences.
        tokens: Sequences times the longest of them; one long sequence may have more.
    """

    rows: int
    tokens: int

    def behind(self, prefix: int, longest: int) -> "BatchLimits":
        """The same for sequences behind a prefix of so many tokens, whose keys and values take memory too."""
        if prefix == 0:
            return self
        return BatchLimits(max(1, min(self.rows, _CACHED * self.tokens // (prefix + longest))), self.tokens)


Done = Callable[[Sequence[int], Scores], None]
"""Called after each batch with the numbers of its rows and what was found."""


def log_probabilities(
    model: LoadedModel, rows: Sequence[Row], limits: BatchLimits, advance: Advance = no_progress
) -> np.ndarray:
    """The sum over each row's scored tokens of the natural logarithm of their probability, given all before them.

    Args:
        model: Which one.
        rows: In any order; they are computed by falling length, so that little is padded and what does not fit
            into memory fails at once.
        limits: Of a batch.
        advance: Called after each batch.

    Returns:
        float64 [N], in the order of `rows`.
    """
    return score_rows(model, rows, limits, advance).sums


def score_rows(
    model: LoadedModel,
    rows: Sequence[Row],
    limits: BatchLimits,
    advance: Advance = no_progress,
    done: Done = lambda batch, scores: None,
) -> Scores:
    """See `log_probabilities`; says also whether the scored tokens are the likeliest ones."""
    scores = Scores(np.zeros(len(rows)), np.zeros(len(rows), bool))
    count = 0
    for group in _row_groups(model, rows):
        prefix = shared_prefix(model, rows[group.members[0]].ids, group)
        lengths = [len(rows[i].ids) - group.length for i in group.members]
        for places in batches_by_length(lengths, limits.behind(group.length, max(lengths))):
            batch = [group.members[place] for place in places]
            found = _score(model, [rows[i] for i in batch], group.length, prefix)
            scores.sums[batch], scores.is_greedy[batch] = found.sums, found.is_greedy
            done(batch, found)
            count += len(batch)
            advance(count, len(rows))
    return scores


def batches_by_length(lengths: Sequence[int], limits: BatchLimits) -> Iterator[list[int]]:
    """Numbers of sequences, the longest first, cut into batches."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) == limits.rows or (len(batch) + 1) * lengths[batch[0]] > limits.tokens):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


ForRows = Callable[[int], Any]
"""Keys and values of a prefix for so many rows; None of no prefix."""


def shared_prefix(model: LoadedModel, ids: list[int], group: PrefixGroup) -> ForRows:
    """Computes what the members of a group share, once.

    Args:
        model: Which one.
        ids: Of any member.
        group: It.
    """
    if group.length == 0:
        return lambda rows: None
    assert model.prefixes is not None
    return partial(model.prefixes.for_rows, model.prefixes.cache(ids[: group.length]))


def _row_groups(model: LoadedModel, rows: Sequence[Row]) -> list[PrefixGroup]:
    """The last token of a row is never read, and the one before its first scored token must be read with it."""
    if model.prefixes is None:
        return [PrefixGroup(0, list(range(len(rows))))]
    return group_by_prefix([row.ids[:-1] for row in rows], [row.first - 1 for row in rows])


@torch.inference_mode()
def _score(model: LoadedModel, rows: Sequence[Row], shared: int, prefix: ForRows) -> Scores:
    """One batch, padded at the right: what stands there is later than every real token, which cannot see it.

    Rows that differ in their last token alone, such as the letters of a multiple choice, are one input.
    """
    inputs: dict[tuple[int, ...], int] = {}
    owners = [inputs.setdefault(tuple(row.ids[shared:-1]), len(inputs)) for row in rows]
    tokens = torch.zeros(len(inputs), max(map(len, inputs)), dtype=torch.int64)
    for ids, number in inputs.items():
        tokens[number, : len(ids)] = torch.tensor(ids)
    states = model.states(tokens.to(model.device), prefix(len(inputs)))
    # The state at a position tells the token after it.
    lines = torch.tensor([owner for owner, row in zip(owners, rows, strict=True) for _ in row.ids[row.first :]])
    places = torch.tensor([at - 1 - shared for row in rows for at in range(row.first, len(row.ids))])
    targets = torch.tensor([id for row in rows for id in row.ids[row.first :]])
    of_row = torch.tensor([i for i, row in enumerate(rows) for _ in row.ids[row.first :]])
    found, is_likeliest = _of_targets(
        model, states[lines.to(states.device), places.to(states.device)], targets.to(states.device)
    )
    sums = torch.zeros(len(rows), dtype=torch.float64).index_add_(0, of_row, found.cpu())
    misses = torch.zeros(len(rows)).index_add_(0, of_row, (~is_likeliest).float().cpu())
    return Scores(sums.numpy(), (misses == 0).numpy())


def _of_targets(model: LoadedModel, states: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of targets [K] from states [K, H] the log-probabilities float64 [K], and whether they are the likeliest ids.

    Some rows of logits at a time.
    """
    parts, likeliest = [], []
    for at in range(0, len(states), rows_at_once := max(1, _LOGITS // model.vocab_size)):
        wanted = targets[at : at + rows_at_once]
        logits = model.head(states[at : at + rows_at_once]).float()
        chosen = logits.gather(1, wanted[:, None])[:, 0]
        parts.append((chosen - logits.logsumexp(1)).double())
        likeliest.append(logits.argmax(1) == wanted)
    return torch.cat(parts), torch.cat(likeliest)
