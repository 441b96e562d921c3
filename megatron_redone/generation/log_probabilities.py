"""Log-probabilities of token sequences under a transformers model, in batches of like length."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from megatron_redone.generation.hf_model import LoadedModel

# Logits that exist at once: 64 MB in fp32. More gains nothing, and of a whole batch they would take gigabytes.
_LOGITS = 1 << 24


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
class BatchLimits:
    """How large a batch may be.

    Attributes:
        rows: Sequences.
        tokens: Sequences times the longest of them; one long sequence may have more.
    """

    rows: int
    tokens: int


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
    sums = np.zeros(len(rows))
    done = 0
    for batch in batches_by_length([len(row.ids) for row in rows], limits):
        sums[batch] = _score(model, [rows[i] for i in batch])
        done += len(batch)
        advance(done, len(rows))
    return sums


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


@torch.inference_mode()
def _score(model: LoadedModel, rows: Sequence[Row]) -> np.ndarray:
    """One batch, padded at the right: what stands there is later than every real token, which cannot see it."""
    longest = max(len(row.ids) for row in rows)
    tokens = torch.zeros(len(rows), longest, dtype=torch.int64)
    scored = torch.zeros(len(rows), longest, dtype=torch.bool)
    for number, row in enumerate(rows):
        tokens[number, : len(row.ids)] = torch.tensor(row.ids)
        scored[number, row.first : len(row.ids)] = True
    tokens, scored = tokens.to(model.device), scored.to(model.device)
    # The state at a position tells the token after it.
    states = model.states(tokens)[:, :-1][scored[:, 1:]]
    found = _of_targets(model, states, tokens[scored])
    owners = scored.nonzero()[:, 0].cpu()
    return torch.zeros(len(rows), dtype=torch.float64).index_add_(0, owners, found.cpu()).numpy()


def _of_targets(model: LoadedModel, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Log-probabilities float64 [K] of targets [K] from states [K, H], some rows of logits at a time."""
    vocab = model.model.config.get_text_config().vocab_size
    parts = []
    for at in range(0, len(states), rows_at_once := max(1, _LOGITS // vocab)):
        logits = model.head(states[at : at + rows_at_once]).float()
        chosen = logits.gather(1, targets[at : at + rows_at_once, None])[:, 0]
        parts.append((chosen - logits.logsumexp(1)).double())
    return torch.cat(parts)
