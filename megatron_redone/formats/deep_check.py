"""Reads a dataset through and says what is wrong with it, for `tools/inspect_dataset.py --check`.

Whether a stage's outputs are complete is another question: `done_check.py`.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from megatron_redone.formats.file_record import file_sha256
from megatron_redone.formats.indexed import IndexedDataset
from megatron_redone.formats.manifest import file_records, read_manifest

_BLOCK = 1 << 22


def problems(dataset: IndexedDataset) -> Iterator[str]:
    """Every defect that opening the dataset does not find, one line each.

    That the .idx is consistent in itself, that ids lie in the vocabulary, and that the files are those
    that the manifest names, where there is one.
    """
    yield from _index_problems(dataset)
    prefix = os.fspath(dataset.paths.bin)[:-4]
    manifest = read_manifest(prefix)
    vocab_size = manifest["tokenizer"]["vocab_size"] if manifest else None
    yield from _token_problems(dataset, vocab_size)
    if manifest is not None:
        for suffix, record in file_records(manifest).items():
            path = Path(f"{prefix}.{suffix}")
            if not path.is_file():
                yield f"{path}: no such file, but the manifest names it; copy it or write the dataset again"
            elif file_sha256(path) != record["sha256"]:
                yield f"{path}: its content is not that of the manifest (SHA-256 differs); it was changed or damaged"


def _index_problems(dataset: IndexedDataset) -> Iterator[str]:
    expected = 0
    for start in range(0, dataset.sequence_count, _BLOCK):
        lengths = dataset.sequence_lengths[start : start + _BLOCK].astype(np.int64)
        pointers = dataset.sequence_pointers[start : start + _BLOCK]
        if len(lengths) and lengths.min() < 0:
            yield f"{dataset.paths.idx}: sequence {start + int(lengths.argmin()):,} has a negative length"
            return
        ends = expected + np.cumsum(lengths) * dataset.dtype.itemsize
        wrong = np.flatnonzero(pointers != ends - lengths * dataset.dtype.itemsize)
        if len(wrong):
            yield f"{dataset.paths.idx}: sequence {start + int(wrong[0]):,} does not begin where the one before ends"
            return
        expected = int(ends[-1])
    indices = dataset.document_indices
    if indices[0] != 0 or indices[-1] != dataset.sequence_count:
        yield f"{dataset.paths.idx}: its documents do not cover its sequences"
    for start in range(0, dataset.document_count, _BLOCK):
        if (np.diff(indices[start : start + _BLOCK + 1]) < 0).any():
            yield f"{dataset.paths.idx}: its documents are not in order"
            return


def _token_problems(dataset: IndexedDataset, vocab_size: int | None) -> Iterator[str]:
    limit = np.iinfo(dataset.dtype.name).max + 1 if vocab_size is None else vocab_size
    for start in range(0, dataset.token_count, _BLOCK):
        ids = dataset.read_tokens(start, min(_BLOCK, dataset.token_count - start))
        if ids.min() < 0 or ids.max() >= limit:
            yield f"{dataset.paths.bin}: holds ids from {ids.min()} to {ids.max()}, outside 0 to {limit - 1}"
            return
