"""What goes to a process that encodes chat data, and what comes back."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from megatron_redone.formats.input_records import InvalidRecord, InvalidRecordError
from megatron_redone.formats.raw_records import RawBatch, RawRecord


@dataclass(frozen=True)
class RawChats:
    """Records to be encoded.

    Attributes:
        source: The number of their source in the configuration.
        format: Of the records; None where not one of them is a JSON object.
        batch: The records.
    """

    source: int
    format: Any
    batch: RawBatch


@dataclass(frozen=True)
class EncodedItem:
    """A conversation, or a pair of them.

    Attributes:
        tokens: Ids of its sequences, one after the other, `uint32[T]`.
        loss_mask: `uint8[T]`, 1 where the token is to be learned; or what its loss counts, `float32[T]`.
        lengths: Tokens of each sequence: one of a conversation, two of a pair.
        key: 64 bits of its content, by which it is held out or not.
        rewards: Of chosen and rejected, where the record has them.
    """

    tokens: np.ndarray
    loss_mask: np.ndarray
    lengths: tuple[int, ...]
    key: int
    rewards: tuple[float, float] | None = None


@dataclass
class EncodedBatch:
    """What came of the records.

    Attributes:
        file: Of the records.
        records: How many there were.
        items: The valid ones, in order.
        invalid: The others.
        with_special_tokens: Valid records in whose own text special tokens are written.
        lost_parts: How many parts of answers the template left out, by their kinds.
        unknown_marks: How many of the invalid records have each key that looks like a mark and is not known.
        unused_responses: Of records with more than two responses, those that are in no pair.
    """

    file: str
    records: int
    items: list[EncodedItem] = field(default_factory=list)
    invalid: list[InvalidRecord] = field(default_factory=list)
    with_special_tokens: int = 0
    lost_parts: Counter[str] = field(default_factory=Counter)
    unknown_marks: Counter[str] = field(default_factory=Counter)
    unused_responses: int = 0

    def add_invalid(self, record: RawRecord, reason: str, unknown_marks: Iterable[str] = ()) -> None:
        """Puts a record aside."""
        self.unknown_marks.update(unknown_marks)
        self.invalid.append(InvalidRecord.of(self.file, record.place, reason, record.json))


@dataclass
class Tally:
    """What became of a source's records so far."""

    records: int = 0
    invalid: Counter[str] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    with_special_tokens: int = 0
    lost_parts: Counter[str] = field(default_factory=Counter)
    unknown_marks: Counter[str] = field(default_factory=Counter)
    unused_responses: int = 0

    def add(self, batch: EncodedBatch, format: Any) -> None:
        """Counts a batch."""
        self.records += batch.records
        self.invalid.update(record.reason for record in batch.invalid)
        if format is not None:
            self.formats[format.name] += batch.records - len(batch.invalid)
        self.with_special_tokens += batch.with_special_tokens
        self.lost_parts.update(batch.lost_parts)
        self.unknown_marks.update(batch.unknown_marks)
        self.unused_responses += batch.unused_responses


def parsed(batch: RawBatch) -> Iterator[dict[str, Any]]:
    """The records of a batch that are JSON objects."""
    for record in batch.records:
        try:
            yield record.parse()
        except InvalidRecordError:
            continue
