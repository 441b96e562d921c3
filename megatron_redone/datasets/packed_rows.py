"""Conversations in rows that hold several of them, whole and kept apart.

A conversation of n tokens takes n - 1 slots: its last token is a label and no input. Rows are packed once,
from the lengths alone, so that a row's number is its whole state; their order is shuffled anew in each epoch.
"""

from collections.abc import Sequence

import numpy as np

from megatron_redone.batches.micro_batch import MicroBatch
from megatron_redone.config.parallel import ParallelConfig
from megatron_redone.config.sft_data import SftDataConfig, TooLong
from megatron_redone.datasets.blend import Blend
from megatron_redone.datasets.collating import Collate, RowCollate, Sample, micro_batch_multiple
from megatron_redone.datasets.epochs import Epochs
from megatron_redone.datasets.packing import pack
from megatron_redone.datasets.row_writer import MaskedSequence, RowWriter
from megatron_redone.datasets.validation import ValidationSet
from megatron_redone.datasets.vocabulary import Vocabulary
from megatron_redone.errors import UserError
from megatron_redone.formats.conversations import ConversationDataset


class PackedRows:
    """The rows of one dataset, epoch after epoch.

    Attributes:
        samples_per_epoch: Rows of the dataset.
        efficiency: Fraction of their slots that hold a token.
        conversations: That are in the rows.
        truncated: Of them, those that lost their end.
        dropped: Conversations that are in no row.
    """

    def __init__(
        self, prefix: str, config: SftDataConfig, vocabulary: Vocabulary | None = None, *, shuffle: bool
    ) -> None:
        """Opens and packs a dataset, in less than a second for a million conversations.

        Raises:
            UserError: the dataset is missing or damaged, was made for another tokenizer, holds a conversation that is
                too long under `too_long=refuse`, or none that fits.
        """
        self.prefix, self.seq_length = prefix, config.seq_length
        if vocabulary is not None:
            vocabulary.check_manifest(prefix)
        self._dataset, self._vocabulary = ConversationDataset.open(prefix), vocabulary
        slots = self._dataset.lengths.astype(np.int64) - 1
        kept = self._kept(slots, config.too_long)
        if not len(kept):
            raise UserError(f"{prefix}: no conversation fits seq_length {config.seq_length:,}; raise it")
        self.conversations, self.dropped = len(kept), len(slots) - len(kept)
        self.truncated = int((slots[kept] > config.seq_length).sum())
        packing = pack(np.minimum(slots[kept], config.seq_length), config.seq_length)
        self.samples_per_epoch, self.efficiency = packing.rows, packing.efficiency
        self._rows = [kept[packing.row(number)] for number in range(packing.rows)]
        self._row_of = Epochs(packing.rows, seed=config.seed, shuffle=shuffle)

    def row(self, number: int) -> list[MaskedSequence]:
        """The conversations of row `number` (0, 1, ... without end).

        Raises:
            UserError: an id is beyond the vocabulary.
        """
        return [self._sequence(int(conversation)) for conversation in self._rows[self._row_of(number)]]

    def describe(self) -> str:
        """What became of the conversations, in a line."""
        text = f"{self.conversations:,} conversations in {self.samples_per_epoch:,} rows"
        text += f", {100 * self.efficiency:.2f} % full"
        if self.truncated or self.dropped:
            text += f" (too long: {self.truncated:,} truncated, {self.dropped:,} left out)"
        return text

    @property
    def is_weighted(self) -> bool:
        """Whether the loss of some tokens counts less than in full."""
        return self._dataset.is_weighted

    @property
    def digest(self) -> str:
        """Changes when a byte of the dataset does."""
        return self._dataset.fingerprint

    def close(self) -> None:
        """Closes the files."""
        self._dataset.close()

    def _kept(self, slots: np.ndarray, too_long: TooLong) -> np.ndarray:
        """The conversations that go into rows, `int64[k]`."""
        long = np.flatnonzero(slots > self.seq_length)
        if len(long) and too_long is TooLong.refuse:
            raise UserError(
                f"{self.prefix}: {len(long):,} conversations are longer than seq_length {self.seq_length:,}, the "
                f"first is number {long[0]:,} with {slots[long[0]] + 1:,} tokens; raise it, or choose another too_long"
            )
        # What is cut off may be all that was to be trained.
        lost = long if too_long is TooLong.drop else [n for n in long if not self._sequence(int(n))[1][1:].any()]
        return np.setdiff1d(np.arange(len(slots)), np.asarray(lost, np.int64))

    def _sequence(self, conversation: int) -> MaskedSequence:
        tokens = self._dataset.tokens(conversation)[: self.seq_length + 1]
        if self._vocabulary is not None:
            self._vocabulary.check_ids(
                tokens, lambda index: f"{self.prefix}: token {index:,} of conversation {conversation:,}"
            )
        return tokens, self._dataset.loss_weights(conversation)[: self.seq_length + 1]


def packed_collate(parallel: ParallelConfig) -> RowCollate:
    """How packed rows become micro-batches."""
    return RowCollate(_read_packed_rows, micro_batch_multiple(parallel))


def _read_packed_rows(samples: Sequence[Sample]) -> MicroBatch:
    return packed_rows([rows.row(number) for rows, number in samples], samples[0][0].seq_length)


def packed_rows(rows: Sequence[Sequence[MaskedSequence]], length: int) -> MicroBatch:
    """A micro-batch of rows that lie one after the other, each padded to `length` by a segment of its own.

    Args:
        rows: Of each its sequences, which together take at most `length` slots.
        length: Slots of a row.
    """
    writer = RowWriter(len(rows), length)
    for number, row in enumerate(rows):
        for sequence in row:
            writer.add(sequence)
        writer.end_row(number)
    return writer.micro_batch()


def open_packed_blend(config: SftDataConfig, vocabulary: Vocabulary | None = None) -> Blend[PackedRows]:
    """Opens and packs the training blend of a configuration; see `PackedRows`."""
    streams = [PackedRows(source.path, config, vocabulary, shuffle=config.shuffle) for source in config.blend]
    return Blend(config.blend, streams)


def open_packed_validation(
    config: SftDataConfig, collate: Collate, vocabulary: Vocabulary | None = None
) -> list[ValidationSet]:
    """Opens the validation sources of a configuration; see `PackedRows`."""
    streams = [PackedRows(source.path, config, vocabulary, shuffle=False) for source in config.validation]
    return [
        ValidationSet(source.label, rows, config.validation_rows, collate, is_weighted=rows.is_weighted)
        for source, rows in zip(config.validation, streams, strict=True)
    ]
