"""The callback that validates, source by source."""

import math
from collections.abc import Iterator, Sequence
from typing import Protocol

from megatron.core.distributed import DistributedDataParallel

from megatron_redone.datasets.batches import BatchLayout, MicroBatch
from megatron_redone.distributed.collectives import errors_stop_all_ranks
from megatron_redone.distributed.context import ParallelContext
from megatron_redone.metrics.progress import VALIDATION
from megatron_redone.metrics.throughput import Throughput
from megatron_redone.metrics.trackers import Tracker
from megatron_redone.objectives import Objective
from megatron_redone.training.loop import FinishedStep
from megatron_redone.training.train_step import evaluate_step


class ValidationSet(Protocol):
    """The fixed samples of one source."""

    name: str

    def micro_batches(self, layout: BatchLayout, multiple_of: int = 1) -> Iterator[MicroBatch]:
        """This rank's micro-batches, equally many of equal shape on all ranks; their number is divisible as asked."""
        ...


class Validator:
    """Validates every so many steps, and after the last one."""

    def __init__(
        self,
        sources: Sequence[ValidationSet],
        chunks: Sequence[DistributedDataParallel],
        objective: Objective,
        layout: BatchLayout,
        context: ParallelContext,
        every: int | None,
        trackers: Tracker | None,
        throughput: Throughput,
    ) -> None:
        """Takes what is validated and where the figures go (`trackers`: of the main rank, else None)."""
        self._sources, self._chunks, self._objective = list(sources), list(chunks), objective
        self._layout, self._context, self._every = layout, context, every
        self._trackers, self._throughput = trackers, throughput
        self._latest: tuple[int, dict[str, float]] = (-1, {})

    def after_step(self, step: FinishedStep) -> None:
        """Validates when it is time."""
        due = self._every is not None and step.state.step % self._every == 0
        if due or step.is_last:
            self.validate(step.state.step)

    def validate(self, step: int) -> dict[str, float]:
        """Measures every source and reports them as figures of a step; the same on all ranks."""
        if not self._sources:
            return {}
        figures: dict[str, float] = {}
        with self._throughput.paused():
            for chunk in self._chunks:
                chunk.eval()
            for source in self._sources:
                for name, value in self._measure(source).items():
                    figures[f"{VALIDATION}{source.name}/{name}"] = value
            for chunk in self._chunks:
                chunk.train()
        if self._trackers is not None:
            self._trackers.log(step, figures)
        self._latest = (step, figures)
        return figures

    def figures_of(self, step: int) -> dict[str, float]:
        """The figures of a step; none where it was not validated."""
        return self._latest[1] if self._latest[0] == step else {}

    def _measure(self, source: ValidationSet) -> dict[str, float]:
        # An interleaved pipeline takes micro-batches by the number of its stages.
        stages = self._context.config.pipeline_model_parallel_size
        with errors_stop_all_ranks():
            batches = list(source.micro_batches(self._layout, multiple_of=stages))
        measures, _ = evaluate_step(self._chunks, self._objective, batches, self._context)
        if self._objective.loss_is_per_token:
            measures["perplexity"] = math.exp(min(measures["loss"], 50.0))  # a larger one says nothing
        return measures
