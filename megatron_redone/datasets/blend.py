"""A weighted blend of streams of samples whose whole state is one sample number."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from megatron_redone.config.data import BlendSource
from megatron_redone.datasets.blend_schedule import ScheduleCursor, integer_weights


class Stream(Protocol):
    """An endless, numbered sequence of samples that repeats in epochs."""

    @property
    def samples_per_epoch(self) -> int:
        """After how many samples all have been seen."""
        ...

    def close(self) -> None:
        """Closes the files."""
        ...


StreamT = TypeVar("StreamT", bound=Stream)


@dataclass(frozen=True, kw_only=True)
class SourceProgress:
    """How much of one source the first samples of a blend took.

    Attributes:
        name: The source's name.
        fraction: Its weight, all weights together being 1.
        samples: Samples taken from it.
        epochs: Times it was read through, `samples` over its samples in one epoch.
    """

    name: str
    fraction: float
    samples: int
    epochs: float


class Blend(Generic[StreamT]):
    """Sample 0, 1, 2, ... of a run, each from one of several streams, without end."""

    def __init__(self, sources: Sequence[BlendSource], streams: Sequence[StreamT]) -> None:
        """Takes the streams of some sources; where these give no weights, each counts by its samples."""
        self.names, self.streams = [source.label for source in sources], list(streams)
        self._weights = integer_weights(
            [
                stream.samples_per_epoch if source.weight is None else source.weight
                for source, stream in zip(sources, streams, strict=True)
            ]
        )
        # Two walkers: one reads ahead in the loader's thread while the other answers for the reports.
        self._reading = ScheduleCursor(self._weights)
        self._reporting = ScheduleCursor(self._weights)

    @property
    def samples_per_epoch(self) -> int:
        """Samples of all streams together, each counted once."""
        return sum(stream.samples_per_epoch for stream in self.streams)

    def samples(self, first: int, count: int) -> list[tuple[int, int]]:
        """Samples `first`, `first + 1`, ...: the source of each, and its number in the source's stream."""
        self._reading.seek(first)
        return [self._reading.next() for _ in range(count)]

    def progress(self, consumed_samples: int) -> list[SourceProgress]:
        """What the first `consumed_samples` samples took of each source."""
        self._reporting.seek(consumed_samples)
        total = sum(self._weights)
        return [
            SourceProgress(name=name, fraction=weight / total, samples=count, epochs=count / stream.samples_per_epoch)
            for name, stream, weight, count in zip(
                self.names, self.streams, self._weights, self._reporting.counts, strict=True
            )
        ]

    def close(self) -> None:
        """Closes the files of all sources."""
        for stream in self.streams:
            stream.close()
