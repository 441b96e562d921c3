"""Reads one data-parallel rank's part of any global batch of a blend."""

from typing import Any

from megatron_redone.batches.micro_batch import GlobalBatch
from megatron_redone.datasets.batch_slice import BatchSlice
from megatron_redone.datasets.blend import Blend
from megatron_redone.datasets.collating import Collate


class BatchReader:
    """Reads global batches from any sample on; it has no state."""

    def __init__(self, blend: Blend[Any], batch_slice: BatchSlice, collate: Collate) -> None:
        """Takes the samples, who reads which, and how they become micro-batches."""
        self.blend, self.batch_slice, self._collate = blend, batch_slice, collate

    def read(self, consumed_samples: int) -> GlobalBatch:
        """This rank's part of the global batch that starts at sample `consumed_samples`."""
        size = self.batch_slice.global_batch_size
        streams = self.blend.streams
        samples = [(streams[source], number) for source, number in self.blend.samples(consumed_samples, size)]
        micro_batches = list(self._collate(samples, self.batch_slice))
        return GlobalBatch(
            micro_batches=micro_batches,
            consumed_samples=consumed_samples + size,
            tokens=self.batch_slice.data_parallel_size * sum(each.tokens.numel() for each in micro_batches),
        )
