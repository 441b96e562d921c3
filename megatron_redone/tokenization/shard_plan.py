"""How a corpus is cut into shards, the units of work and of resuming."""

from collections.abc import Sequence
from dataclasses import dataclass

from megatron_redone.formats.inputs import FileRange, InputFile, cut_file

# Every shard is an open file while documents are shuffled, and systems allow a process about a thousand.
_MOST_SHARDS = 768


@dataclass(frozen=True)
class Shard:
    """Some consecutive input: a part of one large file, or several small ones."""

    number: int
    pieces: list[FileRange]

    @property
    def size(self) -> int:
        """Stored bytes."""
        return sum(piece.size for piece in self.pieces)


def plan_shards(files: Sequence[InputFile], shard_bytes: int) -> list[Shard]:
    """Cuts the input, in order, into shards of about `shard_bytes`, more where there would be too many.

    Compressed and Parquet files are not cut. The number of workers has no say in it: the shards, and
    with them the result, are the same on any machine.
    """
    target = max(shard_bytes, -(-sum(file.size for file in files) // _MOST_SHARDS))
    shards: list[Shard] = []
    pending: list[FileRange] = []
    for piece in (piece for file in files for piece in _cut(file, target)):
        pending.append(piece)
        if sum(p.size for p in pending) >= target:
            shards.append(Shard(len(shards), pending))
            pending = []
    if pending:
        shards.append(Shard(len(shards), pending))
    return shards


def _cut(file: InputFile, target: int) -> list[FileRange]:
    parts = max(1, -(-file.size // target))
    return cut_file(file, [file.size * i // parts for i in range(1, parts)])
