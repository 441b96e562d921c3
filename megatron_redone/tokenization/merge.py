"""From finished shards to the dataset and its list of invalid records."""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from megatron_redone.formats.indexed import DatasetSummary, IndexedDataset, IndexedDatasetWriter
from megatron_redone.formats.input_records import InvalidRecord, write_invalid
from megatron_redone.tokenization.shard import ShardFiles, ShardResult
from megatron_redone.tokenization.shard_plan import Shard
from megatron_redone.tokenization.shuffle import shuffled_documents


def merge_shards(
    prefix: str, dtype: np.dtype, shards: Sequence[ShardFiles], shuffle_seed: int | None
) -> DatasetSummary:
    """Writes the dataset: the shards one after the other, or their documents shuffled.

    Args:
        prefix: Of the dataset.
        dtype: Its token type.
        shards: In the order of the input.
        shuffle_seed: None keeps the order.
    """
    parts = [IndexedDataset(files.prefix) for files in shards]
    with IndexedDatasetWriter(prefix, dtype, checksum=True) as writer:
        if shuffle_seed is None:
            for part in parts:
                writer.add_dataset(part)
        else:
            for tokens, lengths in shuffled_documents(parts, [files.table for files in shards], shuffle_seed):
                writer.add(tokens, lengths)
        return writer.finish()


def merge_invalid(
    path: Path, shards: Sequence[Shard], results: Sequence[ShardResult], files: Sequence[ShardFiles]
) -> dict[str, int]:
    """Writes the list of invalid records, or removes an old one where there are none, and counts them by reason."""
    reasons: Counter[str] = Counter()

    def counted() -> Iterator[InvalidRecord]:
        for record in _invalid_records(shards, results, files):
            reasons[record.reason] += 1
            yield record

    write_invalid(path, counted())
    return dict(reasons.most_common())


def _invalid_records(
    shards: Sequence[Shard], results: Sequence[ShardResult], files: Sequence[ShardFiles]
) -> Iterator[InvalidRecord]:
    """Those of all shards. A shard counts from the beginning of its pieces; here the lines before are added."""
    lines_before = 0
    for shard, result, names in zip(shards, results, files, strict=True):
        first_line = []
        for piece, records in zip(shard.pieces, result.records, strict=True):
            if piece.start == 0:
                lines_before = 0
            first_line.append(lines_before)
            lines_before += records
        with open(names.invalid, encoding="utf-8") as stream:
            for line in stream:
                fields = json.loads(line)
                number = fields.pop("piece")
                record = InvalidRecord(**fields)
                yield dataclasses.replace(record, place=record.place + first_line[number])
