"""The work of one process: turn the shards it is handed into small datasets."""

import dataclasses
import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from megatron_redone.config.tokenize import TokenizeConfig
from megatron_redone.errors import UserError
from megatron_redone.formats.atomic import write_json
from megatron_redone.formats.indexed import IndexedDatasetWriter, token_dtype
from megatron_redone.formats.reader import read_records
from megatron_redone.formats.records import Rejected
from megatron_redone.processes.parent import die_with_parent
from megatron_redone.tokenization.shard_plan import Shard
from megatron_redone.tokenization.shuffle import BucketWriter
from megatron_redone.tokenization.tokenizer import Encoded, FastPathDisagreement, Tokenizer


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
    def rejected(self) -> Path:
        """Refused records, JSON lines."""
        return self.prefix.with_suffix(".rejected.jsonl")

    @property
    def done(self) -> Path:
        """The done-marker."""
        return self.prefix.with_suffix(".done.json")


@dataclass
class ShardResult:
    """What came of a shard; its done-marker's content.

    Attributes:
        records: Of each piece.
        slow_because: Why the fast path was not taken, or None where it was.
    """

    number: int
    records: list[int]
    documents: int = 0
    tokens: int = 0
    rejected: int = 0
    slow_because: str | None = None

    @classmethod
    def read(cls, files: ShardFiles) -> "ShardResult | None":
        """The result of a finished shard, or None."""
        return cls(**json.loads(files.done.read_text())) if files.done.is_file() else None


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
        write_json(ShardFiles.of(self._folder, shard.number).done, dataclasses.asdict(result))
        return result

    def _encode(self, shard: Shard, fast: bool) -> ShardResult:
        files = ShardFiles.of(self._folder, shard.number)
        result = ShardResult(shard.number, [0] * len(shard.pieces), slow_because=self._tokenizer.slow_because)
        seen = [0, 0, 0]
        with IndexedDatasetWriter(files.prefix, self._dtype) as writer, open(files.rejected, "w") as rejected:
            sink = BucketWriter(writer, self._buckets, self._config.seed, shard.number) if self._buckets else writer
            for number, piece in enumerate(shard.pieces):
                for batch in read_records(piece, self._config.text_key):
                    try:
                        encoded = self._tokenizer.encode_batch(batch.texts, fast)
                    except FastPathDisagreement:
                        self._count(seen, [-n for n in seen])
                        raise
                    tokens, lengths = surround(encoded, self._tokenizer.prefix, self._suffix, self._dtype)
                    sink.add(tokens, lengths)
                    for record in batch.rejected:
                        rejected.write(_rejected_line(number, record))
                    result.records[number] += batch.records
                    result.rejected += len(batch.rejected)
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


def _rejected_line(piece: int, record: Rejected) -> str:
    return json.dumps({"piece": piece, **dataclasses.asdict(record)}, ensure_ascii=True) + "\n"


# A process pool hands its functions plain arguments, so what a worker keeps between calls stands here.
_worker: list[ShardWorker] = []


def start_worker(config: TokenizeConfig, folder: Path, buckets: int, counters: Any) -> None:
    """Prepares a process of the pool; see `ShardWorker`."""
    threading.Thread(target=die_with_parent, daemon=True).start()
    _worker.append(ShardWorker(config, folder, buckets, counters))


def encode_shard(shard: Shard) -> ShardResult | str:
    """Runs in a process of the pool: the result, or what the user must mend."""
    try:
        return _worker[0].encode(shard)
    except UserError as error:
        return str(error)
