"""A weighted blend of token streams whose whole state is one sample number."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from megatron_redone.config.data import BlendSource, DataConfig
from megatron_redone.datasets.schedule import ScheduleCursor, integer_weights
from megatron_redone.datasets.token_stream import TokenStream
from megatron_redone.datasets.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class SourceProgress:
    """How much of one source the first samples of a blend took.

    Attributes:
        name: The source's name.
        share: Its weight, all weights together being 1.
        samples: Samples taken from it.
        epochs: Times it was read through, `samples` over its samples in one epoch.
    """

    name: str
    share: float
    samples: int
    epochs: float


class Blend:
    """Sample 0, 1, 2, ... of a run, each from one of several streams, without end."""

    def __init__(self, names: Sequence[str], streams: Sequence[TokenStream], weights: Sequence[float]) -> None:
        """Takes streams of one `seq_length` and their positive weights, of any sum."""
        assert len({stream.seq_length for stream in streams}) == 1, "the streams' samples have one length"
        self.names, self.streams = list(names), list(streams)
        self.seq_length = streams[0].seq_length
        self._weights = integer_weights(weights)
        # Two walkers: one reads ahead in the loader's thread while the other answers for the reports.
        self._reading = ScheduleCursor(self._weights)
        self._reporting = ScheduleCursor(self._weights)

    @classmethod
    def open(cls, config: DataConfig, vocabulary: Vocabulary | None = None) -> "Blend":
        """Opens the training blend of a configuration.

        Raises:
            UserError: a dataset is missing, damaged, too small, or was made for another vocabulary.
        """
        streams = [
            TokenStream(
                source.path,
                seq_length=config.seq_length,
                seed=config.seed,
                shuffle=config.shuffle,
                vocabulary=vocabulary,
            )
            for source in config.blend
        ]
        weights = [_weight(source, stream) for source, stream in zip(config.blend, streams, strict=True)]
        return cls([source.label for source in config.blend], streams, weights)

    def places(self, first: int, count: int) -> list[tuple[int, int]]:
        """Samples `first`, `first + 1`, ...: the source of each, and its number in the source's stream."""
        self._reading.seek(first)
        return [self._reading.next() for _ in range(count)]

    def tokens(self, place: tuple[int, int]) -> np.ndarray:
        """The ids at one of the `places`: `[seq_length + 1]`, in the source's own integer type."""
        source, number = place
        return self.streams[source].tokens(number)

    def document_starts(self, place: tuple[int, int]) -> np.ndarray:
        """Where in that sample documents begin: `int64[n]`, from 1 to `seq_length`, ascending."""
        source, number = place
        return self.streams[source].document_starts(number)

    def progress(self, consumed_samples: int) -> list[SourceProgress]:
        """What the first `consumed_samples` samples took of each source."""
        self._reporting.seek(consumed_samples)
        total = sum(self._weights)
        return [
            SourceProgress(name=name, share=weight / total, samples=count, epochs=count / stream.samples_per_epoch)
            for name, stream, weight, count in zip(
                self.names, self.streams, self._weights, self._reporting.counts, strict=True
            )
        ]

    def close(self) -> None:
        """Closes the files of all sources."""
        for stream in self.streams:
            stream.close()


def _weight(source: BlendSource, stream: TokenStream) -> float:
    return stream.token_count if source.weight is None else source.weight
