"""The callback that reports how a run goes."""

from collections.abc import Callable

from megatron_redone.config.metrics import MetricsConfig
from megatron_redone.datasets.blend import SourceProgress
from megatron_redone.distributed.context import ParallelContext
from megatron_redone.distributed.device import peak_memory_gb
from megatron_redone.metrics.throughput import Throughput
from megatron_redone.metrics.trackers import Tracker
from megatron_redone.training.loop import FinishedStep


class Reporter:
    """Hands the metrics of every `log_interval`-th step, and of the last one, to the trackers."""

    def __init__(
        self,
        *,
        config: MetricsConfig,
        trackers: Tracker | None,
        throughput: Throughput,
        train_steps: int,
        progress: Callable[[int], list[SourceProgress]],
        context: ParallelContext,
    ) -> None:
        """Takes where the metrics go.

        Args:
            config: How often.
            trackers: Of the main rank; None on the others.
            throughput: Told of every step.
            train_steps: Steps of the run.
            progress: What the first so many samples took of each source.
            context: This rank's place.
        """
        self._config, self._trackers, self._throughput = config, trackers, throughput
        self._train_steps, self._progress, self._context = train_steps, progress, context

    def after_step(self, step: FinishedStep) -> None:
        """Counts the step and, when it is time, reports."""
        self._throughput.add_step(step.tokens)
        number = step.state.step
        if self._trackers is None or not (step.is_last or number % self._config.log_interval == 0):
            return
        metrics = {
            **step.result.metrics,
            "grad_norm": step.result.grad_norm,
            "learning_rate": step.learning_rate,
            **self._throughput.report(self._train_steps - number),
            "memory_gb": peak_memory_gb(self._context.device),
            "consumed_samples": step.state.consumed_samples,
            "consumed_tokens": step.state.consumed_tokens,
            **({"skipped": 1.0} if step.result.skipped else {}),
            **{f"epochs/{source.name}": source.epochs for source in self._progress(step.state.consumed_samples)},
        }
        self._trackers.log(number, metrics)
