"""From pairs to the micro-batches of one data-parallel rank.

A global batch is a number of pairs, whatever rows they fill. They are spread over as few rows as hold them
and every rank gets equally many; the rows of a step have one length, that of the fullest.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from megatron_redone.config.parallel import ParallelConfig
from megatron_redone.config.preference_data import PreferenceDataConfig
from megatron_redone.datasets.batches import BatchLayout, MicroBatch, to_tensors
from megatron_redone.datasets.blend import Blend
from megatron_redone.datasets.packing import balance
from megatron_redone.datasets.preference_pairs import Pair, PairStream

Place = tuple[PairStream, int]
"""A stream and a sample's number in it."""

# Fewer lengths than tokens: kernels are chosen and memory is reused by shape.
_LENGTH_STEP = 64


class RowPlan:
    """How many rows some pairs take on a layout, and how long these are."""

    def __init__(self, seq_length: int, parallel: ParallelConfig, layout: BatchLayout) -> None:
        """Takes the longest row, and the layout over processes."""
        self.seq_length, self.layout = seq_length, layout
        pipeline = parallel.pipeline_model_parallel_size if parallel.virtual_pipeline_model_parallel_size else 1
        self._row_unit = layout.micro_batch_size * layout.data_parallel_size * pipeline
        # FP8's products take a rank's tokens by 32 at most (mxfp8).
        self._length_unit = 32 * parallel.context_parallel_size * parallel.tensor_model_parallel_size

    def rows(self, lengths: list[int]) -> tuple[list[list[int]], int]:
        """The items of each row, and the length of all."""
        units = max(-(-sum(lengths) // (self.seq_length * self._row_unit)), 1)
        rows = balance(lengths, units * self._row_unit)
        while (longest := max(sum(lengths[item] for item in row) for row in rows)) > self.seq_length:
            units += 1
            rows = balance(lengths, units * self._row_unit)
        return rows, min(self._rounded(longest), self.seq_length)

    def micro_batches(self, places: Sequence[Place]) -> list[MicroBatch]:
        """This rank's micro-batches of the global batch that some pairs are."""
        rows, length = self.rows([stream.places(number) for stream, number in places])
        layout, size = self.layout, self.layout.micro_batch_size
        found = []
        for first in range(layout.data_parallel_rank * size, len(rows), size * layout.data_parallel_size):
            pairs = [[places[item] for item in row] for row in rows[first : first + size]]
            found.append(pair_rows([[stream.pair(number) for stream, number in row] for row in pairs], length))
        return found

    def _rounded(self, length: int) -> int:
        unit = int(np.lcm(_LENGTH_STEP, self._length_unit))
        return -(-max(length, 1) // unit) * unit


class PairReader:
    """Reads one rank's part of any global batch of a blend of pairs."""

    def __init__(self, blend: Blend[PairStream], plan: RowPlan) -> None:
        """Takes the pairs and how rows are filled."""
        self.blend, self.layout, self._plan = blend, plan.layout, plan

    def read(self, consumed_samples: int) -> list[MicroBatch]:
        """The rank's micro-batches of the global batch that starts at pair `consumed_samples`."""
        places = self.blend.places(consumed_samples, self.layout.global_batch_size)
        return self._plan.micro_batches([(self.blend.streams[source], number) for source, number in places])


class PairValidation:
    """The first pairs of one dataset, the same at every validation of every run.

    Attributes:
        name: The source's name.
    """

    def __init__(self, name: str, stream: PairStream, count: int, parallel: ParallelConfig, seq_length: int) -> None:
        """Takes at most one epoch of pairs that are not shuffled."""
        self.name, self._stream = name, stream
        self._count, self._parallel, self._seq_length = min(count, stream.samples_per_epoch), parallel, seq_length

    def micro_batches(self, layout: BatchLayout, multiple_of: int = 1) -> Iterator[MicroBatch]:
        """This rank's micro-batches; `RowPlan` sees to their number."""
        plan = RowPlan(self._seq_length, self._parallel, layout)
        yield from plan.micro_batches([(self._stream, number) for number in range(self._count)])


def pair_rows(rows: Sequence[Sequence[Pair]], length: int) -> MicroBatch:
    """A micro-batch of rows of pairs that lie one after the other, each padded to `length`.

    Segments are the sides of a pair, or its shared prompt and what is left of each side, which sees the prompt.

    Returns:
        What `packed_rows` gives, and of the P pairs in the order of the rows:
        `responses` int64 `[1, b * S]`, the response that the label belongs to, 2p for the chosen one of pair p and
        2p + 1 for the rejected one, 0 where no label counts; `prefixes` int32 `[n, 2]`, for each segment where the
        segment begins and ends that it sees besides itself, 0 and 0 for none; `response_lengths` float32 `[2P]`;
        `reference` and `rewards` float32 `[P, 2]`; `pairs` int64 `[P]`, their numbers.
    """
    total = len(rows) * length
    tokens, labels, positions, responses = (np.zeros(total, np.int64) for _ in range(4))
    loss_mask, borders, prefixes = np.zeros(total, np.float32), [0], []
    pairs = [pair for row in rows for pair in row]
    counted = 0

    def add(ids: np.ndarray, begin: int, first: int, prefix: tuple[int, int]) -> int:
        """Writes inputs from place `begin` on, the first of them at position `first` of its sequence."""
        end = begin + len(ids)
        tokens[begin:end], positions[begin:end] = ids, np.arange(first, first + len(ids))
        borders.append(end)
        prefixes.append(prefix)
        return end

    for number, row in enumerate(rows):
        begin = number * length
        for pair in row:
            shared, prefix = pair.shared, (0, 0)
            if shared:
                prefix = (begin, begin + shared)
                begin = add(pair.chosen[0][:shared], begin, 0, (0, 0))
            for ids, mask in (pair.chosen, pair.rejected):
                end = add(ids[shared:-1], begin, shared, prefix)
                labels[begin:end], loss_mask[begin:end] = ids[shared + 1 :], mask[shared + 1 :]
                responses[begin:end] = counted
                begin, counted = end, counted + 1
        end = (number + 1) * length
        assert begin <= end, "the pairs of a row exceed its length"
        if begin < end:
            add(np.zeros(end - begin, np.int64), begin, 0, (0, 0))
    sides = [side for pair in pairs for side in (pair.chosen, pair.rejected)]
    return to_tensors(
        tokens=tokens[None],
        labels=labels[None],
        loss_mask=loss_mask[None],
        position_ids=positions[None],
        cu_seqlens=np.array(borders, np.int32),
        prefixes=np.array(prefixes, np.int32),
        responses=responses[None],
        response_lengths=np.array([mask[1:].sum() for _, mask in sides], np.float32),
        reference=_rows_of_two([pair.reference for pair in pairs]),
        rewards=_rows_of_two([pair.rewards for pair in pairs]),
        pairs=np.array([pair.number for pair in pairs], np.int64),
    )


def _rows_of_two(values: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack(values).astype(np.float32) if values else np.zeros((0, 2), np.float32)


def pair_validation(
    config: PreferenceDataConfig, streams: Sequence[PairStream], parallel: ParallelConfig
) -> list[PairValidation]:
    """The validation sources of a configuration over their opened streams."""
    return [
        PairValidation(source.label, stream, config.validation_pairs, parallel, config.seq_length)
        for source, stream in zip(config.validation, streams, strict=True)
    ]
