"""What is reported, and when."""

from types import SimpleNamespace
from typing import Any

from megatron_redone.config.metrics import MetricsConfig
from megatron_redone.datasets.blend import SourceProgress
from megatron_redone.metrics.throughput import Throughput
from megatron_redone.training.reporting import Reporter
from tests.helpers.one_process import context, finished


def reports(interval: int, steps: int) -> dict[int, dict[str, float]]:
    logged: dict[int, dict[str, float]] = {}
    seconds = iter(range(1000))
    reporter = Reporter(
        config=MetricsConfig(log_interval=interval),
        trackers=SimpleNamespace(log=lambda step, metrics: logged.update({step: dict(metrics)})),  # type: ignore[arg-type]
        throughput=Throughput(flops_per_token=1.0, devices=1, clock=lambda: float(next(seconds))),
        train_steps=steps,
        progress=lambda samples: [SourceProgress(name="a", fraction=1.0, samples=samples, epochs=samples / 8)],
        context=context(),
    )
    for step in range(1, steps + 1):
        reporter.after_step(finished(step, is_last=step == steps, skipped=step == 3, margin=step / 2))
    return logged


def test_every_so_many_steps_and_the_last() -> None:
    assert list(reports(1, 3)) == [1, 2, 3]
    assert list(reports(3, 7)) == [3, 6, 7]
    assert list(reports(100, 5)) == [5]


def test_a_report_holds_the_step_the_run_and_the_sources() -> None:
    logged: Any = reports(2, 4)
    assert logged[4]["loss"] == 1.5 and logged[4]["margin"] == 2.0 and logged[4]["grad_norm"] == 0.25
    assert (logged[4]["consumed_samples"], logged[4]["consumed_tokens"], logged[4]["epochs/a"]) == (16, 256, 2.0)
    assert logged[2]["tokens_per_second"] == logged[4]["tokens_per_second"] == 128.0, "of the steps since the last one"
    assert "skipped" not in logged[2] and reports(1, 4)[3]["skipped"] == 1.0
