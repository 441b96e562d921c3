"""Reads a dataset through and says what is wrong with it, for `tools/inspect_dataset.py --check`.

Whether a stage's outputs are complete is another question: `done_check.py`.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from megatron_redone.errors import DamageError
from megatron_redone.formats.file_record import damage
from megatron_redone.formats.index_check import index_problems
from megatron_redone.formats.indexed import IndexedDataset
from megatron_redone.formats.manifest import file_records, read_manifest

_BLOCK = 1 << 22


def problems(dataset: IndexedDataset) -> Iterator[str]:
    """Every defect that opening the dataset does not find, one line each.

    That the .idx is consistent in itself, that ids lie in the vocabulary, that the files are those that the manifest
    names, where there is one, and that they are those of the checksums beside them, where there are some.
    """
    yield from index_problems(dataset)
    prefix = os.fspath(dataset.paths.bin)[:-4]
    manifest = read_manifest(prefix)
    try:
        dataset.check_all()
        yield from _token_problems(dataset, manifest["tokenizer"]["vocab_size"] if manifest else None)
    except DamageError as error:
        yield str(error)
    if manifest is not None:
        records = {**file_records(manifest), **manifest.get("checksums", {})}
        yield from damage({Path(f"{prefix}.{suffix}"): record for suffix, record in records.items()}, whole=True)


def _token_problems(dataset: IndexedDataset, vocab_size: int | None) -> Iterator[str]:
    limit = np.iinfo(dataset.dtype.name).max + 1 if vocab_size is None else vocab_size
    for start in range(0, dataset.token_count, _BLOCK):
        ids = dataset.read_tokens(start, min(_BLOCK, dataset.token_count - start))
        if ids.min() < 0 or ids.max() >= limit:
            yield f"{dataset.paths.bin}: holds ids from {ids.min()} to {ids.max()}, outside 0 to {limit - 1}"
            return
