"""Reads a dataset through and says what is wrong with it: `redone verify dataset=` and `inspect_dataset.py --check`.

Whether a stage's outputs are complete is another question: `done_check.py`.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from megatron_redone.errors import DamageError
from megatron_redone.formats.file_record import damage
from megatron_redone.formats.index_check import index_problems
from megatron_redone.formats.indexed import IndexedDataset
from megatron_redone.formats.manifest import (
    PREFERENCES,
    check_files,
    file_records,
    fingerprint,
    manifest_path,
    read_manifest,
)
from megatron_redone.formats.masked_tokens import is_half_written
from megatron_redone.formats.reference_scores import read_reference, reference_path

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


@dataclass(frozen=True)
class CheckedDataset:
    """What was compared.

    Attributes:
        size: Bytes of all files.
        has_checksums: Whether there are some to compare all of them with.
        lacks: Where the reference scores of pairs would lie; None where they are there, or it is no dataset of pairs.
    """

    size: int
    has_checksums: bool
    lacks: Path | None


def check_dataset(prefix: Path) -> CheckedDataset:
    """Reads a dataset of any kind whole: ids, masks, all beside them, and the reference scores that lie there.

    Args:
        prefix: The dataset's path without suffix.

    Raises:
        UserError: naming everything that is damaged.
    """
    manifest = read_manifest(prefix)
    if manifest is not None:
        check_files(prefix, manifest, "write the dataset again")
    elif is_half_written(prefix):
        raise DamageError(f"{manifest_path(prefix)}: missing; copy it again, or write the dataset again")
    parts = [IndexedDataset(prefix), *map(IndexedDataset, _masks(prefix))]
    found = [problem for part in parts for problem in problems(part)]
    if found:
        raise DamageError("; ".join(found))
    scores = reference_path(os.fspath(prefix), "")
    _check_scores(scores, manifest)
    suffixes = {"bin", "idx", *file_records(manifest or {}), *(manifest or {}).get("checksums", {})}
    files = [*(Path(f"{prefix}.{suffix}") for suffix in suffixes), *([scores] if scores.exists() else [])]
    return CheckedDataset(
        sum(file.stat().st_size for file in files),
        manifest is not None or all(part.has_checksums for part in parts),
        scores if (manifest or {}).get("format") == PREFERENCES and not scores.exists() else None,
    )


def _masks(prefix: Path) -> list[str]:
    masks = f"{prefix}.loss_mask"
    return [masks] if Path(f"{masks}.idx").exists() else []


def _check_scores(path: Path, manifest: dict[str, Any] | None) -> None:
    scores = read_reference(path)
    if scores is not None and (manifest is None or scores.data != fingerprint(manifest)):
        raise DamageError(f"{path}: the scores belong to other data; run `redone score-reference` again")


def _token_problems(dataset: IndexedDataset, vocab_size: int | None) -> Iterator[str]:
    limit = np.iinfo(dataset.dtype.name).max + 1 if vocab_size is None else vocab_size
    for start in range(0, dataset.token_count, _BLOCK):
        ids = dataset.read_tokens(start, min(_BLOCK, dataset.token_count - start))
        if ids.min() < 0 or ids.max() >= limit:
            yield f"{dataset.paths.bin}: holds ids from {ids.min()} to {ids.max()}, outside 0 to {limit - 1}"
            return
