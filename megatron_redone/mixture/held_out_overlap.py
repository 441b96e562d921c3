"""How much of a held-out set stands in a source: whole short documents, and windows of long ones, by their hashes.

The hash of tokens x is sum of (x_i + 1) B^i modulo 2^64, for an odd B that has an inverse: that of any window follows
from two prefix sums, so that all windows of a source cost a few passes of numpy.
"""

from collections.abc import Iterator

import numpy as np

from megatron_redone.formats.indexed import IndexedDataset

_WINDOW = 32  # tokens
_LEAST = 8  # tokens of a document: shorter ones ("thank you") stand everywhere
_BASE = 0x9E3779B97F4A7C15 | 1
_BLOCK = 1 << 22  # tokens read at once
_MOST = 1 << 30  # tokens of a source that are looked at; of more, blocks spread evenly


def overlap(held_out: IndexedDataset, source: IndexedDataset, most: int) -> float:
    """The fraction of the held-out tokens whose document or window stands in the source.

    Args:
        held_out: Its first tokens are looked at.
        source: Up to a billion tokens of it are looked at, in blocks that are spread evenly.
        most: Tokens of the held-out set that count.
    """
    windows, documents = _wanted(held_out, most)
    total = sum(count for _, count in (*windows.items(), *documents.items()))
    if not total:
        return 0.0
    found = set[int]()
    wanted_windows, wanted_documents = _sorted(windows), _sorted(documents)
    for tokens, starts, lengths in _blocks(source):
        prefix, powers = _prefix_sums(tokens)
        places = np.arange(max(0, len(tokens) - _WINDOW + 1))
        found |= _among(_hashes(prefix, powers, places, np.full(len(places), _WINDOW)), wanted_windows)
        found |= {-1 - hash for hash in _among(_hashes(prefix, powers, starts, lengths), wanted_documents)}
    return sum(n for h, n in windows.items() if h in found) / total + (
        sum(n for h, n in documents.items() if -1 - h in found) / total
    )


def _wanted(held_out: IndexedDataset, most: int) -> tuple[dict[int, int], dict[int, int]]:
    """Hashes of windows and of short documents, with the tokens that each stands for."""
    windows: dict[int, int] = {}
    documents: dict[int, int] = {}
    seen = 0
    for number in range(held_out.document_count):
        tokens = held_out.document(number)
        seen += len(tokens)
        if len(tokens) >= _WINDOW:
            places = np.arange(0, len(tokens) - _WINDOW + 1, _WINDOW)
            _count(windows, _hashes(*_prefix_sums(tokens), places, np.full(len(places), _WINDOW)), _WINDOW)
        elif len(tokens) >= _LEAST:
            one = _hashes(*_prefix_sums(tokens), np.zeros(1, np.int64), np.array([len(tokens)]))
            _count(documents, one, len(tokens))
        if seen >= most:
            break
    return windows, documents


def _count(counts: dict[int, int], hashes: np.ndarray, tokens: int) -> None:
    for hash in hashes.tolist():
        counts[hash] = counts.get(hash, 0) + tokens


def _blocks(source: IndexedDataset) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Runs of whole documents: their tokens, and where each short document begins and how long it is."""
    borders = _borders(source)
    lengths = np.diff(borders)
    stride = -(-source.token_count // _MOST)  # every so many blocks is read
    first, block = 0, 0
    while first < len(lengths):
        end = max(first + 1, int(np.searchsorted(borders, borders[first] + _BLOCK, side="right")) - 1)
        if block % stride == 0:
            tokens = source.read_tokens(int(borders[first]), int(borders[end] - borders[first]))
            short = np.flatnonzero((lengths[first:end] >= _LEAST) & (lengths[first:end] < _WINDOW))
            yield tokens, borders[first + short] - borders[first], lengths[first + short]
        first, block = end, block + 1


def _borders(source: IndexedDataset) -> np.ndarray:
    """Where documents begin in the .bin, and its end: `int64[D + 1]`, in tokens."""
    ends = np.append(np.asarray(source.sequence_pointers) // source.dtype.itemsize, source.token_count)
    return ends[np.asarray(source.document_indices)]


def _prefix_sums(tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of (x_i + 1) B^i up to each place, and the powers of B's inverse; both `uint64`, modulo 2^64."""
    count = len(tokens)
    powers = _powers(_BASE, count)
    sums = np.cumsum((tokens.astype(np.uint64) + np.uint64(1)) * powers, dtype=np.uint64)
    return np.concatenate([np.zeros(1, np.uint64), sums]), _powers(pow(_BASE, -1, 1 << 64), count)


def _powers(base: int, count: int) -> np.ndarray:
    powers = np.full(count, base, np.uint64)
    powers[:1] = 1
    return np.cumprod(powers, dtype=np.uint64)


def _hashes(prefix: np.ndarray, inverse: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return (prefix[starts + lengths] - prefix[starts]) * inverse[starts]


def _sorted(counts: dict[int, int]) -> np.ndarray:
    return np.sort(np.array(list(counts), dtype=np.uint64))


def _among(hashes: np.ndarray, wanted: np.ndarray) -> set[int]:
    if not len(wanted) or not len(hashes):
        return set()
    places = np.minimum(np.searchsorted(wanted, hashes), len(wanted) - 1)
    return set(wanted[np.unique(places[wanted[places] == hashes])].tolist())
