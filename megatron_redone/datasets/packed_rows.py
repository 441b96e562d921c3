"""Conversations in rows that hold several of them, whole and kept apart.

A conversation of n tokens takes n - 1 places: its last token is a label and no input. Rows are packed once,
from the lengths alone, so that a row's number is its whole state; their order is shuffled anew in each epoch.
"""

import logging
from collections.abc import Iterator, Sequence

import numpy as np

from megatron_redone.config.sft_data import SftDataConfig, TooLong
from megatron_redone.datasets.batches import BatchLayout, MicroBatch, to_tensors
from megatron_redone.datasets.blend import Blend
from megatron_redone.datasets.packing import pack
from megatron_redone.datasets.permutation import Permutation
from megatron_redone.datasets.vocabulary import Vocabulary
from megatron_redone.errors import UserError
from megatron_redone.formats.conversations import ConversationDataset

log = logging.getLogger(__name__)

Segment = tuple[np.ndarray, np.ndarray]
"""Ids `[n]` of a sequence and its loss mask `[n]`, 1 on the tokens to be learned."""


class PackedRows:
    """The rows of one dataset, epoch after epoch.

    Attributes:
        samples_per_epoch: Rows of the dataset.
        efficiency: Share of their places that hold a token.
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
        places = self._dataset.lengths.astype(np.int64) - 1
        kept = self._kept(places, config.too_long)
        if not len(kept):
            raise UserError(f"{prefix}: no conversation fits seq_length {config.seq_length:,}; raise it")
        self.conversations, self.dropped = len(kept), len(places) - len(kept)
        self.truncated = int((places[kept] > config.seq_length).sum())
        packing = pack(np.minimum(places[kept], config.seq_length), config.seq_length)
        self.samples_per_epoch, self.efficiency = packing.rows, packing.efficiency
        self._rows = [kept[packing.row(number)] for number in range(packing.rows)]
        self._seed, self._shuffle = config.seed, shuffle
        self._order = (-1, Permutation(1))  # an epoch and its permutation

    def row(self, number: int) -> list[Segment]:
        """The conversations of row `number` (0, 1, ... without end).

        Raises:
            UserError: an id is beyond the vocabulary.
        """
        epoch, place = divmod(number, self.samples_per_epoch)
        if self._shuffle:
            if self._order[0] != epoch:
                self._order = (epoch, Permutation(self.samples_per_epoch, self._seed, epoch))
            place = self._order[1](place)
        return [self._segment(int(conversation)) for conversation in self._rows[place]]

    def describe(self) -> str:
        """What became of the conversations, in a line."""
        share = f"{100 * self.efficiency:.2f} % full"
        text = f"{self.conversations:,} conversations in {self.samples_per_epoch:,} rows, {share}"
        if self.truncated or self.dropped:
            text += f" (too long: {self.truncated:,} truncated, {self.dropped:,} left out)"
        return text

    @property
    def digest(self) -> str:
        """Changes when a byte of the dataset does."""
        return self._dataset.fingerprint

    def close(self) -> None:
        """Closes the files."""
        self._dataset.close()

    def _kept(self, places: np.ndarray, too_long: TooLong) -> np.ndarray:
        """The conversations that go into rows, `int64[k]`."""
        long = np.flatnonzero(places > self.seq_length)
        if len(long) and too_long is TooLong.refuse:
            raise UserError(
                f"{self.prefix}: {len(long):,} conversations are longer than seq_length {self.seq_length:,}, the "
                f"first is number {long[0]:,} with {places[long[0]] + 1:,} tokens; raise it, or choose another too_long"
            )
        # What is cut off may be all that was to be learned.
        lost = long if too_long is TooLong.drop else [n for n in long if not self._segment(int(n))[1][1:].any()]
        return np.setdiff1d(np.arange(len(places)), np.asarray(lost, np.int64))

    def _segment(self, conversation: int) -> Segment:
        tokens = self._dataset.tokens(conversation)[: self.seq_length + 1]
        beyond = None if self._vocabulary is None else self._vocabulary.first_beyond(tokens)
        if beyond is not None:
            assert self._vocabulary is not None
            raise UserError(
                f"{self.prefix}: token {beyond:,} of conversation {conversation:,} has id {tokens[beyond]:,}, but the "
                f"model's vocabulary ends at {self._vocabulary.size - 1:,}; prepare the data with the model's tokenizer"
            )
        return tokens, self._dataset.loss_mask(conversation)[: self.seq_length + 1]


class PackedReader:
    """Reads one rank's part of any global batch of a blend of rows."""

    def __init__(self, blend: Blend[PackedRows], layout: BatchLayout) -> None:
        """Takes the rows and who reads which."""
        self.blend, self.layout = blend, layout

    def read(self, consumed_samples: int) -> list[MicroBatch]:
        """The rank's micro-batches of the global batch that starts at row `consumed_samples`."""
        places = self.blend.places(consumed_samples, self.layout.global_batch_size)
        streams = self.blend.streams
        return [
            packed_rows([streams[s].row(n) for s, n in (places[row] for row in self.layout.rows(number))],
                        streams[0].seq_length)
            for number in range(self.layout.micro_batch_count)
        ]  # fmt: skip


class PackedValidation:
    """The first rows of one dataset, in the order they were packed: the same at every validation of every run.

    Attributes:
        name: The source's name.
    """

    def __init__(self, name: str, rows: PackedRows, count: int) -> None:
        """Takes at most one epoch of rows that are not shuffled."""
        self.name, self._rows = name, rows
        self.row_count = min(count, rows.samples_per_epoch)

    def micro_batches(self, layout: BatchLayout, multiple_of: int = 1) -> Iterator[MicroBatch]:
        """This rank's micro-batches; rows of padding fill the last ones up, so that all ranks have equally many."""
        count = -(-self.row_count // (layout.micro_batch_size * layout.data_parallel_size))
        for number in range(-(-count // multiple_of) * multiple_of):
            rows = [self._rows.row(row) if row < self.row_count else [] for row in layout.rows(number)]
            yield packed_rows(rows, self._rows.seq_length)


def packed_rows(rows: Sequence[Sequence[Segment]], length: int) -> MicroBatch:
    """A micro-batch of rows that lie one after the other, each padded to `length` by a segment of its own.

    Args:
        rows: Of each its segments, which together have at most `length` places.
        length: S, the places of a row.

    Returns:
        `tokens`, `labels`, `position_ids` int64 `[1, b * S]`, `loss_mask` float32 `[1, b * S]`, `cu_seqlens`.
    """
    total = len(rows) * length
    tokens, labels, positions = (np.zeros(total, np.int64) for _ in range(3))
    loss_mask, borders = np.zeros(total, np.float32), [0]
    for number, row in enumerate(rows):
        begin = number * length
        for ids, learned in row:
            end = begin + len(ids) - 1
            tokens[begin:end], labels[begin:end] = ids[:-1], ids[1:]
            loss_mask[begin:end], positions[begin:end] = learned[1:], np.arange(end - begin)
            borders.append(end)
            begin = end
        end = (number + 1) * length
        assert begin <= end, "the segments of a row exceed its length"
        if begin < end:
            positions[begin:end] = np.arange(end - begin)
            borders.append(end)
    return to_tensors(
        tokens=tokens[None],
        labels=labels[None],
        loss_mask=loss_mask[None],
        position_ids=positions[None],
        cu_seqlens=np.array(borders, np.int32),
    )


def open_packed_blend(config: SftDataConfig, vocabulary: Vocabulary | None = None) -> Blend[PackedRows]:
    """Opens and packs the training blend of a configuration; see `PackedRows`."""
    streams = [PackedRows(source.path, config, vocabulary, shuffle=config.shuffle) for source in config.blend]
    return Blend(config.blend, streams)


def open_packed_validation(config: SftDataConfig, vocabulary: Vocabulary | None = None) -> list[PackedValidation]:
    """Opens the validation sources of a configuration; see `PackedRows`."""
    return [
        PackedValidation(
            source.label, PackedRows(source.path, config, vocabulary, shuffle=False), config.validation_rows
        )
        for source in config.validation
    ]
