"""The fixed samples that a run is validated on, source by source."""

import logging
from collections.abc import Iterator

from megatron_redone.batches.micro_batch import MicroBatch
from megatron_redone.datasets.batch_slice import BatchSlice
from megatron_redone.datasets.blend import Stream
from megatron_redone.datasets.collating import Collate

log = logging.getLogger(__name__)


class ValidationSet:
    """The first samples of one dataset, in file order: the same at every validation of every run.

    Attributes:
        name: The source's name.
        sample_count: Samples validated on, of all ranks together.
        is_weighted: Whether the loss of some tokens counts less than in full.
    """

    def __init__(
        self, name: str, stream: Stream, sample_count: int, collate: Collate, *, is_weighted: bool = False
    ) -> None:
        """Takes a stream that is not shuffled, of which at most one epoch is read."""
        self.name, self._stream, self._collate = name, stream, collate
        self.is_weighted = is_weighted
        self.sample_count = min(sample_count, stream.samples_per_epoch)
        if self.sample_count < sample_count:
            log.warning(
                "%s: holds %s samples, validation uses all of them in place of %s",
                name,
                f"{self.sample_count:,}",
                f"{sample_count:,}",
            )

    def micro_batches(self, batch_slice: BatchSlice) -> Iterator[MicroBatch]:
        """This rank's micro-batches, read as they are asked for; see `Collate`."""
        return self._collate([(self._stream, number) for number in range(self.sample_count)], batch_slice)

    def close(self) -> None:
        """Closes the files."""
        self._stream.close()
