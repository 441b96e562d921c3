"""From samples to the micro-batches of one data-parallel rank, where every sample is a row.

Pairs are spread over rows otherwise: `pair_rows.RowPlan` is their `Collate`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from megatron_redone.batches.micro_batch import MicroBatch
from megatron_redone.config.parallel import ParallelConfig
from megatron_redone.datasets.batch_slice import BatchSlice

Sample = tuple[Any, int]
"""A stream of samples and the number of one of them."""


class Collate(Protocol):
    """Makes micro-batches of samples."""

    def __call__(self, samples: Sequence[Sample], batch_slice: BatchSlice) -> Iterator[MicroBatch]:
        """This rank's micro-batches of some samples, equally many of equal shape on all ranks, read as asked for.

        Args:
            samples: All that the ranks share, at least one.
            batch_slice: Of which the micro-batch and data-parallel sizes count.
        """
        ...


@dataclass(frozen=True)
class RowCollate:
    """A sample a row. Rows that fill the last micro-batches up repeat the last sample and are masked.

    Attributes:
        rows: The micro-batch of some samples, whose rows are equally long.
        multiple_of: What the number of micro-batches must be divisible by.
    """

    rows: Callable[[Sequence[Sample]], MicroBatch]
    multiple_of: int = 1

    def __call__(self, samples: Sequence[Sample], batch_slice: BatchSlice) -> Iterator[MicroBatch]:
        """Collates; see `Collate`."""
        count = _up(-(-len(samples) // batch_slice.samples_at_once), self.multiple_of)
        for number in range(count):
            mine = batch_slice.samples(number)
            micro_batch = self.rows([samples[min(sample, len(samples) - 1)] for sample in mine])
            surplus = min(mine.stop - len(samples), len(mine))
            if surplus > 0:
                micro_batch.loss_mask.view(len(mine), -1)[-surplus:] = 0.0
            yield micro_batch


def micro_batch_multiple(parallel: ParallelConfig) -> int:
    """What the number of micro-batches must be divisible by: an interleaved pipeline takes them by its stages."""
    return parallel.pipeline_model_parallel_size if parallel.virtual_pipeline_model_parallel_size else 1


def _up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple
