"""The work of one process: turn the shards it is handed into small datasets."""

import dataclasses
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from megatron_redone.config.tokenize import TokenizeConfig
from megatron_redone.formats.done_check import read_sealed, write_sealed
from megatron_redone.formats.file_record import damage, record_files
from megatron_redone.formats.indexed import DatasetPaths, IndexedDatasetWriter, token_dtype
from megatron_redone.formats.input_records import InvalidRecord
from megatron_redone.formats.reader import read_records
from megatron_redone.tokenization.shard_plan import Shard
from megatron_redone.tokenization.shuffle import BucketWriter
from megatron_redone.tokenization.tokenizer import Encoded, FastPathDisagreement, Tokenizer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShardFiles:
    """The files of one shard in the work folder. The done-marker comes last."""

    prefix: Path

    @classmethod
    def of(cls, folder: Path, number: int) -> "ShardFiles":
        """Those of a shard's number."""
        return cls(folder / f"shard-{number:05d}")

    @property
    def table(self) -> Path:
        """Documents of each bucket, where the corpus is shuffled."""
        return self.prefix.with_suffix(".buckets.npy")

    @property
    def invalid(self) -> Path:
        """Invalid records, JSON lines."""
        return self.prefix.with_suffix(".invalid.jsonl")

    @property
    def done(self) -> Path:
        """The done-marker."""
        return self.prefix.with_suffix(".done.json")

    def written(self) -> list[Path]:
        """The files that are there when the shard is encoded, before its done-marker."""
        paths = DatasetPaths.of(self.prefix)
        return [path for path in (paths.bin, paths.idx, self.table, self.invalid) if path.is_file()]


@dataclass
class ShardResult:
    """What came of a shard; its done-marker's content.

    Attributes:
        records: Of each piece.
        slow_because: Why the fast path was not taken, or None where it was.
        files: The record of each file, by its name (`FileRecord`).
    """

    number: int
    records: list[int]
    documents: int = 0
    tokens: int = 0
    invalid: int = 0
    slow_because: str | None = None
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, files: ShardFiles) -> "ShardResult | None":
        """The result of a finished shard; None where it is not finished, or a file of it is missing or damaged."""
        content, is_intact = read_sealed(files.done)
        if content is None or not is_intact:
            return None
        names = [field.name for field in dataclasses.fields(cls)]
        if not all(name in content for name in names):
            return None  # of another version
        result = cls(**{name: content[name] for name in names})
        problems = damage({files.prefix.parent / name: record for name, record in result.files.items()}, whole=True)
        if problems:
            log.warning("%s; the shard is encoded again", "; ".join(problems))
            return None
        return result


class ShardWorker:
    """Encodes shards, one after the other."""

    def __init__(self, config: TokenizeConfig, folder: Path, buckets: int, counters: Any) -> None:
        """Loads the tokenizer.

        Args:
            config: The stage's settings.
            folder: Where the shards' files go.
            buckets: Of the shuffle; 0 keeps the order.
            counters: A shared array to add to: bytes read, documents, tokens.
        """
        self._config = config
        self._folder = folder
        self._buckets = buckets
        self._counters = counters
        self._tokenizer = Tokenizer(config.tokenizer)
        self._dtype = token_dtype(self._tokenizer.vocab_size)
        eod = [self._tokenizer.eod_id] if config.append_eod else []
        self._suffix = [*self._tokenizer.suffix, *(i for i in eod if i is not None)]

    def encode(self, shard: Shard) -> ShardResult:
        """Encodes a shard, writes its files and its done-marker.

        Where the fast path is caught at a wrong id, the whole shard is encoded again by the reference: so
        its bytes do not depend on what the worker did before.
        """
        try:
            result = self._encode(shard, fast=True)
        except FastPathDisagreement as error:
            result = self._encode(shard, fast=False)
            result.slow_because = str(error)
        files = ShardFiles.of(self._folder, shard.number)
        result.files = record_files(self._folder, files.written())
        write_sealed(files.done, dataclasses.asdict(result))
        return result

    def _encode(self, shard: Shard, fast: bool) -> ShardResult:
        files = ShardFiles.of(self._folder, shard.number)
        result = ShardResult(shard.number, [0] * len(shard.pieces), slow_because=self._tokenizer.slow_because)
        seen = [0, 0, 0]
        with IndexedDatasetWriter(files.prefix, self._dtype) as writer, open(files.invalid, "w") as invalid:
            sink = BucketWriter(writer, self._buckets, self._config.seed, shard.number) if self._buckets else writer
            for number, piece in enumerate(shard.pieces):
                for batch in read_records(piece, self._config.text_key, self._config.max_record_mb << 20):
                    try:
                        encoded = self._tokenizer.encode_batch(batch.texts, fast)
                    except FastPathDisagreement:
                        self._count(seen, [-n for n in seen])
                        raise
                    tokens, lengths = surround(encoded, self._tokenizer.prefix, self._suffix, self._dtype)
                    sink.add(tokens, lengths)
                    for record in batch.invalid:
                        invalid.write(_invalid_line(number, record))
                    result.records[number] += batch.records
                    result.invalid += len(batch.invalid)
                    result.documents += len(lengths)
                    result.tokens += len(tokens)
                    self._count(seen, [batch.bytes, len(lengths), len(tokens)])
            if isinstance(sink, BucketWriter):
                sink.finish(files.table)
            writer.finish()
        return result

    def _count(self, seen: list[int], more: list[int]) -> None:
        with self._counters.get_lock():
            for i, n in enumerate(list(more)):
                seen[i] += n
                self._counters[i] += n


def surround(encoded: Encoded, prefix: list[int], suffix: list[int], dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Puts tokens before and after every document.

    Returns:
        The ids in the type they are stored as, `[T]`, and the new lengths, `int64[N]`.
    """
    if not prefix and not suffix:
        return encoded.ids.astype(dtype), encoded.lengths
    lengths = encoded.lengths + (len(prefix) + len(suffix))
    ends = np.cumsum(lengths)
    ids = np.empty(int(lengths.sum()), dtype)
    is_text = np.ones(len(ids), bool)
    for position, token in enumerate(prefix):
        ids[ends - lengths + position], is_text[ends - lengths + position] = token, False
    for position, token in enumerate(suffix, -len(suffix)):
        ids[ends + position], is_text[ends + position] = token, False
    ids[is_text] = encoded.ids
    return ids, lengths


def _invalid_line(piece: int, record: InvalidRecord) -> str:
    return json.dumps({"piece": piece, **dataclasses.asdict(record)}, ensure_ascii=True) + "\n"


def shard_encoder(config: TokenizeConfig, folder: Path, buckets: int, counters: Any) -> Callable[[Shard], ShardResult]:
    """What encodes shards in a process of a pool; see `ShardWorker`."""
    return ShardWorker(config, folder, buckets, counters).encode
