"""Loss weights between 0 and 1, beside the mask of a dataset: the runs of tokens that have one.

    PREFIX.loss_weights.npy   [n] of sequence int64, begin int32, end int32, weight float32, in order

The mask is 1 on these tokens. Tokens of no run count in full where the mask is 1; a dataset without such
weights has no such file.
"""

from pathlib import Path

import numpy as np

from megatron_redone.errors import UserError

FILE = "loss_weights.npy"
RUN = np.dtype([("sequence", "<i8"), ("begin", "<i4"), ("end", "<i4"), ("weight", "<f4")])


def weight_runs(weights: np.ndarray, lengths: np.ndarray, first: int) -> np.ndarray:
    """The runs of equal weights that are neither 0 nor 1.

    Args:
        weights: float32 `[sum(lengths)]`, of sequences that lie one after the other.
        lengths: Tokens of each, `[S]`.
        first: The number of the first sequence.

    Returns:
        `RUN [n]`.
    """
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    changes = np.flatnonzero(np.diff(weights)) + 1
    edges = np.unique(np.concatenate([starts, changes]))
    begins, ends = edges[:-1], edges[1:]
    is_partial = (weights[begins] > 0) & (weights[begins] < 1)
    begins, ends = begins[is_partial], ends[is_partial]
    sequences = np.searchsorted(starts, begins, "right") - 1
    runs = np.empty(len(begins), RUN)
    runs["sequence"], runs["weight"] = sequences + first, weights[begins]
    runs["begin"], runs["end"] = begins - starts[sequences], ends - starts[sequences]
    return runs


def read_runs(path: Path, lengths: np.ndarray) -> np.ndarray:
    """The runs in a file, mapped.

    Args:
        path: Of the file.
        lengths: Tokens of each sequence of the dataset, `[S]`.

    Raises:
        UserError: it cannot be read, or does not fit the dataset.
    """
    try:
        runs = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{path}: not readable ({error}); prepare the data again with overwrite=true") from None
    if runs.dtype != RUN or runs.ndim != 1 or not _fit(runs, lengths):
        raise UserError(f"{path}: does not fit the dataset beside it; prepare the data again with overwrite=true")
    return runs


def weights_of(runs: np.ndarray, sequence: int, loss_mask: np.ndarray) -> np.ndarray:
    """The loss weights of a sequence: float32 where it has any, else its mask as it is.

    Args:
        runs: Of the dataset.
        sequence: Its number.
        loss_mask: uint8 `[T]`.
    """
    first, stop = np.searchsorted(runs["sequence"], [sequence, sequence + 1])
    if first == stop:
        return loss_mask
    weights = loss_mask.astype(np.float32)
    for _, begin, end, weight in runs[first:stop]:
        weights[begin:end] *= weight
    return weights


def _fit(runs: np.ndarray, lengths: np.ndarray) -> bool:
    if not len(runs):
        return True
    sequences = runs["sequence"]
    if (np.diff(sequences) < 0).any() or sequences[0] < 0 or sequences[-1] >= len(lengths):
        return False
    within = (runs["begin"] >= 0) & (runs["begin"] < runs["end"]) & (runs["end"] <= lengths[sequences])
    return bool((within & (runs["weight"] > 0) & (runs["weight"] < 1)).all())
