"""The callback that reports how a run goes."""

from collections.abc import Callable

from megatron_redone.config.metrics import MetricsConfig
from megatron_redone.datasets.blend import SourceProgress
from megatron_redone.distributed.collectives import gather_to_main
from megatron_redone.distributed.context import ParallelContext
from megatron_redone.distributed.device import peak_memory_gb
from megatron_redone.metrics.throughput import Throughput
from megatron_redone.metrics.trackers import Tracker
from megatron_redone.training.loop import FinishedStep
from megatron_redone.training.profiling import RankTimes


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
        rank_times: RankTimes | None = None,
    ) -> None:
        """Takes where the metrics go.

        Args:
            config: How often.
            trackers: Of the main rank; None on the others.
            throughput: Told of every step.
            train_steps: Steps of the run.
            progress: What the first so many samples took of each source.
            context: This rank's place.
            rank_times: Where the times of all ranks are to be compared.
        """
        self._config, self._trackers, self._throughput = config, trackers, throughput
        self._train_steps, self._progress, self._context = train_steps, progress, context
        self._rank_times = rank_times

    def after_step(self, step: FinishedStep) -> None:
        """Counts the step and, when it is time, reports."""
        self._throughput.add_step(step.tokens)
        number = step.state.step
        is_due = step.is_last or number % self._config.log_interval == 0
        seconds = None if self._rank_times is None else self._rank_times.take()
        times = _compared(seconds) if is_due and seconds is not None else {}
        if self._trackers is None or not is_due:
            return
        metrics = {
            **step.result.metrics,
            "grad_norm": step.result.grad_norm,
            "learning_rate": step.learning_rate,
            **self._throughput.report(self._train_steps - number),
            "memory_gb": peak_memory_gb(self._context.device),
            "consumed_samples": step.state.consumed_samples,
            "consumed_tokens": step.state.consumed_tokens,
            **times,
            **({"skipped": 1.0} if step.result.skipped else {}),
            **{f"epochs/{source.name}": source.epochs for source in self._progress(step.state.consumed_samples)},
        }
        self._trackers.log(number, metrics)


def _compared(seconds: float) -> dict[str, float]:
    """Times of all ranks, on the main one. For all ranks."""
    everyones = gather_to_main(seconds)
    if everyones is None:
        return {}
    slowest = max(range(len(everyones)), key=everyones.__getitem__)
    return {
        "rank_seconds/fastest": min(everyones),
        "rank_seconds/slowest": everyones[slowest],
        "rank_seconds/slowest_rank": float(slowest),
    }
