"""The callback that validates, source by source."""

import math
from collections.abc import Sequence

from megatron.core.distributed import DistributedDataParallel

from megatron_redone.datasets.batch_slice import BatchSlice
from megatron_redone.datasets.validation import ValidationSet
from megatron_redone.distributed.collectives import errors_stop_all_ranks
from megatron_redone.metrics.progress import VALIDATION
from megatron_redone.metrics.throughput import Throughput
from megatron_redone.metrics.trackers import Tracker
from megatron_redone.objectives import Objective
from megatron_redone.training.loop import FinishedStep
from megatron_redone.training.train_step import evaluate_step


class Validator:
    """Validates every so many steps, and at the end; not where the run was asked to stop: saving must come first."""

    def __init__(
        self,
        *,
        sets: Sequence[ValidationSet],
        model_chunks: Sequence[DistributedDataParallel],
        objective: Objective,
        batch_slice: BatchSlice,
        every: int | None,
        trackers: Tracker | None,
        throughput: Throughput,
    ) -> None:
        """Takes what is validated and where the metrics go (`trackers`: of the main rank, else None)."""
        self._sets, self._model_chunks, self._objective = list(sets), list(model_chunks), objective
        self._batch_slice, self._every = batch_slice, every
        self._trackers, self._throughput = trackers, throughput
        self._latest: tuple[int, dict[str, float]] = (-1, {})

    def after_step(self, step: FinishedStep) -> None:
        """Validates when it is time."""
        due = self._every is not None and step.state.step % self._every == 0
        if due or (step.is_last and not step.is_stop):
            self.validate(step.state.step)

    def validate(self, step: int) -> dict[str, float]:
        """Measures every source and reports the metrics of a step; they are the same on all ranks."""
        if not self._sets:
            return {}
        metrics: dict[str, float] = {}
        with self._throughput.paused():
            for chunk in self._model_chunks:
                chunk.eval()
            for source in self._sets:
                found = self._measure(source)
                metrics.update({f"{VALIDATION}{source.name}/{name}": value for name, value in found.items()})
            for chunk in self._model_chunks:
                chunk.train()
        if self._trackers is not None:
            self._trackers.log(step, metrics)
        self._latest = (step, metrics)
        return metrics

    def metrics_of(self, step: int) -> dict[str, float]:
        """The metrics of a step; none where it was not validated."""
        return self._latest[1] if self._latest[0] == step else {}

    def _measure(self, source: ValidationSet) -> dict[str, float]:
        with errors_stop_all_ranks():
            micro_batches = list(source.micro_batches(self._batch_slice))
        metrics, _ = evaluate_step(self._model_chunks, self._objective, micro_batches)
        if self._objective.loss_is_per_token and not source.is_weighted:
            metrics["perplexity"] = math.exp(min(metrics["loss"], 50.0))  # a larger one says nothing
        return metrics
