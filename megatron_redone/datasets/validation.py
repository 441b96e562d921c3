"""The fixed samples that a run is validated on, source by source."""

import logging
from collections.abc import Iterator

import numpy as np

from megatron_redone.config.data import DataConfig
from megatron_redone.datasets.batches import BatchLayout, MicroBatch, isolated_documents, whole_rows
from megatron_redone.datasets.token_stream import TokenStream
from megatron_redone.datasets.vocabulary import Vocabulary

_LOG = logging.getLogger(__name__)


class ValidationSource:
    """The first samples of one dataset, in file order: the same at every validation of every run.

    All ranks get equally many micro-batches of equal shape; the rows that fill the last ones up repeat
    a sample and are masked, so that the mean loss over tokens is the same on every layout.

    Attributes:
        name: The source's name.
        sample_count: Samples validated on, of all ranks together.
    """

    def __init__(self, name: str, stream: TokenStream, sample_count: int, *, isolate_documents: bool) -> None:
        """Takes an unshuffled stream of which at most one epoch is read."""
        self.name, self._stream, self._isolate_documents = name, stream, isolate_documents
        self.sample_count = min(sample_count, stream.samples_per_epoch)
        if self.sample_count < sample_count:
            _LOG.warning(
                "%s: holds %s samples, validation uses all of them in place of %s",
                stream.prefix,
                f"{self.sample_count:,}",
                f"{sample_count:,}",
            )

    def micro_batch_count(self, layout: BatchLayout, multiple_of: int = 1) -> int:
        """Micro-batches that each rank runs.

        Args:
            layout: Of which the micro-batch and data-parallel sizes count.
            multiple_of: What the number must be divisible by (an interleaved pipeline asks for its size).
        """
        count = -(-self.sample_count // (layout.micro_batch_size * layout.data_parallel_size))
        return -(-count // multiple_of) * multiple_of

    def micro_batches(self, layout: BatchLayout, multiple_of: int = 1) -> Iterator[MicroBatch]:
        """This rank's micro-batches, read as they are asked for."""
        for number in range(self.micro_batch_count(layout, multiple_of)):
            yield self._micro_batch(layout.rows(number))

    def close(self) -> None:
        """Closes the files."""
        self._stream.close()

    def _micro_batch(self, samples: range) -> MicroBatch:
        numbers = [min(sample, self.sample_count - 1) for sample in samples]
        rows: list[np.ndarray] = [self._stream.tokens(number) for number in numbers]
        if self._isolate_documents:
            batch = isolated_documents(rows, [self._stream.document_starts(number) for number in numbers])
        else:
            batch = whole_rows(rows)
        surplus = max(0, min(samples.stop - self.sample_count, len(samples)))
        if surplus:
            batch["loss_mask"].view(len(samples), -1)[-surplus:] = 0.0
        return batch


def open_validation(config: DataConfig, vocabulary: Vocabulary | None = None) -> list[ValidationSource]:
    """Opens the validation sources of a configuration.

    Raises:
        UserError: a dataset is missing, damaged, too small, or was made for another vocabulary.
    """
    sources = []
    for source in config.validation:
        stream = TokenStream(source.path, seq_length=config.seq_length, seed=0, shuffle=False, vocabulary=vocabulary)
        sources.append(
            ValidationSource(
                source.label, stream, config.validation_samples, isolate_documents=config.isolate_documents
            )
        )
    return sources
