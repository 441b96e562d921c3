"""What a run shows of its inside: traces of steps, and the history of a device's memory."""

import time
from pathlib import Path
from typing import Any

import torch

from megatron_redone.config.metrics import MetricsConfig
from megatron_redone.distributed.context import ParallelContext
from megatron_redone.training.loop import FinishedStep

_ALLOCATIONS = 100_000


class StepProfiler:
    """A callback that records the steps which are asked for, one file a rank and step.

    Under `nsys profile --capture-range=cudaProfilerApi --capture-range-end=repeat` these steps are also what nsys sees.
    """

    def __init__(self, config: MetricsConfig, output_dir: str, context: ParallelContext, first_step: int) -> None:
        """Starts at once, where the step after `first_step` is to be recorded."""
        self._steps, self._snapshot_step = set(config.profile_steps), config.memory_snapshot_step
        self._folder, self._context = Path(output_dir) / "profile", context
        self._on_cuda = context.device.type == "cuda"
        self._profiler: torch.profiler.profile | None = None
        if self._snapshot_step is not None and self._on_cuda:
            torch.cuda.memory._record_memory_history(max_entries=_ALLOCATIONS)
        self._begin(first_step + 1)

    def after_step(self, step: FinishedStep) -> None:
        """Ends the record of this step, and begins that of the next one."""
        number = step.state.step
        self._end(number)
        if number == self._snapshot_step and self._on_cuda:
            torch.cuda.memory._dump_snapshot(str(self._file(number, "memory.pickle")))
            torch.cuda.memory._record_memory_history(enabled=None)
        if not step.is_last:
            self._begin(number + 1)

    def _begin(self, step: int) -> None:
        if step not in self._steps:
            return
        activities = [torch.profiler.ProfilerActivity.CPU]
        if self._on_cuda:
            activities.append(torch.profiler.ProfilerActivity.CUDA)
            _cuda_runtime().cudaProfilerStart()
        self._profiler = torch.profiler.profile(activities=activities)
        self._profiler.start()

    def _end(self, step: int) -> None:
        if self._profiler is None:
            return
        if self._on_cuda:
            torch.cuda.synchronize()
            _cuda_runtime().cudaProfilerStop()
        self._profiler.stop()
        self._profiler.export_chrome_trace(str(self._file(step, "trace.json")))
        self._profiler = None

    def _file(self, step: int, ending: str) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder / f"step-{step}.rank-{self._context.rank}.{ending}"


def _cuda_runtime() -> Any:
    return torch.cuda.cudart()


class RankTimes:
    """How long each rank reads and computes until gradients are summed: who keeps the others waiting.

    It marks the moment at which megatron-core's schedule hands the gradients over.
    """

    def __init__(self, model_config: Any, device: torch.device) -> None:
        """Puts itself before what sums gradients; to be made after the model is wrapped, once a run."""
        self._clock: Any = _CudaClock() if device.type == "cuda" else _HostClock()
        self._summing = model_config.finalize_model_grads_func
        model_config.finalize_model_grads_func = self._sum
        self._begin = self._clock.mark()
        self._own: Any = None

    def _sum(self, *args: Any, **kwargs: Any) -> Any:
        self._own = self._clock.mark()
        return self._summing(*args, **kwargs)

    def take(self) -> float:
        """Seconds of the step that has just ended, whose figures have come from the device; the next one begins."""
        seconds = self._clock.between(self._begin, self._own)
        self._begin = self._clock.mark()
        return seconds


class _HostClock:
    def mark(self) -> float:
        return time.perf_counter()

    def between(self, first: float, last: float) -> float:
        return last - first


class _CudaClock:
    def mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, first: torch.cuda.Event, last: torch.cuda.Event) -> float:
        return first.elapsed_time(last) / 1e3
