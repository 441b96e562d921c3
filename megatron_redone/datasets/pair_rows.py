"""From pairs to the micro-batches of one data-parallel rank.

A global batch is a number of pairs, whatever rows they fill. They are spread over as few rows as hold them
and every rank gets equally many; the rows of a step have one length, that of the fullest.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from megatron_redone.batches.micro_batch import MicroBatch, PairColumns
from megatron_redone.config.parallel import ParallelConfig
from megatron_redone.config.preference_data import PreferenceDataConfig
from megatron_redone.datasets.batch_slice import BatchSlice
from megatron_redone.datasets.collating import Collate, Sample, micro_batch_multiple
from megatron_redone.datasets.packing import balance
from megatron_redone.datasets.preference_pairs import Pair, PairStream
from megatron_redone.datasets.row_writer import RowWriter
from megatron_redone.datasets.tensors import to_tensor
from megatron_redone.datasets.validation import ValidationSet

# Fewer lengths than tokens: kernels are chosen and memory is reused by shape.
_LENGTH_STEP = 64


class RowPlan:
    """A `Collate`: how many rows some pairs take on a layout, and how long these are."""

    def __init__(self, seq_length: int, parallel: ParallelConfig, tokens_multiple: int = 1) -> None:
        """Takes the longest row, the layout over processes, and what a rank's tokens must be a multiple of."""
        self.seq_length, self._multiple = seq_length, micro_batch_multiple(parallel)
        # By 32 at least, so that the rows are the same under most precisions.
        self._length_unit = (
            max(32, tokens_multiple) * parallel.context_parallel_size * parallel.tensor_model_parallel_size
        )

    def __call__(self, samples: Sequence[Sample], batch_slice: BatchSlice) -> Iterator[MicroBatch]:
        """Collates; see `Collate`."""
        row_unit = batch_slice.samples_at_once * self._multiple
        rows, length = self.rows([stream.slots(number) for stream, number in samples], row_unit)
        for number in range(len(rows) // batch_slice.samples_at_once):
            mine = [rows[row] for row in batch_slice.samples(number)]
            yield pair_rows([[_read(samples[item]) for item in row] for row in mine], length)

    def rows(self, lengths: list[int], row_unit: int) -> tuple[list[list[int]], int]:
        """The items of each row, and the length of all; the number of rows is a multiple of `row_unit`."""
        units = max(-(-sum(lengths) // (self.seq_length * row_unit)), 1)
        rows = balance(lengths, units * row_unit)
        while (longest := max(sum(lengths[item] for item in row) for row in rows)) > self.seq_length:
            units += 1
            rows = balance(lengths, units * row_unit)
        return rows, min(self._rounded(longest), self.seq_length)

    def _rounded(self, length: int) -> int:
        unit = int(np.lcm(_LENGTH_STEP, self._length_unit))
        return -(-max(length, 1) // unit) * unit


def _read(sample: Sample) -> Pair:
    stream, number = sample
    return stream.pair(number)


def pair_rows(rows: Sequence[Sequence[Pair]], length: int) -> MicroBatch:
    """A micro-batch of rows of pairs that lie one after the other, each padded to `length`.

    Segments are the sides of a pair, or its shared prompt and what is left of each side, which sees the prompt.
    """
    writer = RowWriter(len(rows), length)
    responses, counted = np.zeros(len(rows) * length, np.int64), 0
    for number, row in enumerate(rows):
        for pair in row:
            prefix = (0, 0)
            if pair.shared:
                prompt = writer.add_inputs(pair.chosen[0][: pair.shared])
                prefix = (prompt.start, prompt.stop)
            for side in (pair.chosen, pair.rejected):
                responses[writer.add(side, pair.shared, prefix)] = counted
                counted += 1
        writer.end_row(number)
    pairs = [pair for row in rows for pair in row]
    return writer.micro_batch(_pair_columns(pairs, responses, writer.prefixes))


def _pair_columns(pairs: Sequence[Pair], responses: np.ndarray, prefixes: list[tuple[int, int]]) -> PairColumns:
    sides = [side for pair in pairs for side in (pair.chosen, pair.rejected)]
    return PairColumns(
        numbers=to_tensor(np.array([pair.number for pair in pairs], np.int64)),
        responses=to_tensor(responses[None]),
        lengths=to_tensor(np.array([mask[1:].sum() for _, mask in sides], np.float32)),
        reference=to_tensor(_rows_of_two([pair.reference for pair in pairs])),
        rewards=to_tensor(_rows_of_two([pair.rewards for pair in pairs])),
        prefixes=to_tensor(np.array(prefixes, np.int32)),
    )


def _rows_of_two(values: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack(values).astype(np.float32) if values else np.zeros((0, 2), np.float32)


def pair_validation(
    config: PreferenceDataConfig, streams: Sequence[PairStream], collate: Collate
) -> list[ValidationSet]:
    """The validation sets of a configuration over their opened streams."""
    return [
        ValidationSet(source.label, stream, config.validation_pairs, collate)
        for source, stream in zip(config.validation, streams, strict=True)
    ]
