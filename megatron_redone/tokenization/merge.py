"""From finished shards to the dataset and its file of refused records."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from megatron_redone.formats.indexed import DatasetSummary, IndexedDataset, IndexedDatasetWriter
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


def merge_rejected(
    path: Path, shards: Sequence[Shard], results: Sequence[ShardResult], files: Sequence[ShardFiles]
) -> dict[str, int]:
    """Writes the refused records with their file and line number, and counts them by reason.

    A shard knows its lines from its own beginning only; here the lines of the pieces before are added.
    """
    reasons: Counter[str] = Counter()
    lines_before = 0
    partial = path.with_name(path.name + ".partial")
    with open(partial, "w", encoding="utf-8") as out:
        for shard, result, names in zip(shards, results, files, strict=True):
            first_line = []
            for piece, records in zip(shard.pieces, result.records, strict=True):
                if piece.start == 0:
                    lines_before = 0
                first_line.append(lines_before)
                lines_before += records
            for text in names.rejected.open(encoding="utf-8"):
                record = json.loads(text)
                number = record.pop("piece")
                record["line"] += first_line[number]
                entry = {"file": shard.pieces[number].file.path, **record}
                out.write(json.dumps(entry, ensure_ascii=False) + "\n")
                reasons[record["reason"]] += 1
    if reasons:
        partial.replace(path)
    else:
        partial.unlink()
        path.unlink(missing_ok=True)
    return dict(reasons.most_common())
