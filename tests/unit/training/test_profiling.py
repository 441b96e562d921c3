"""Traces of the steps that are asked for, and the times that ranks are compared by."""

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from megatron_redone.config.metrics import MetricsConfig
from megatron_redone.errors import UserError
from megatron_redone.training.profiling import RankTimes, StepProfiler
from megatron_redone.training.reporting import _compared
from tests.helpers.one_process import finished


def test_the_steps_that_are_asked_for_leave_a_trace(tmp_path: Path) -> None:
    context: Any = SimpleNamespace(rank=3, device=torch.device("cpu"))
    profiler = StepProfiler(MetricsConfig(profile_steps=[2, 4]), str(tmp_path), context, first_step=0)
    for step in range(1, 5):
        torch.ones(4, 4).matmul(torch.ones(4, step))
        profiler.after_step(finished(step, is_last=step == 4))
    files = sorted(path.name for path in (tmp_path / "profile").iterdir())
    assert files == ["step-2.rank-3.trace.json", "step-4.rank-3.trace.json"]
    for file in files:
        names = [event.get("name") for event in json.loads((tmp_path / "profile" / file).read_text())["traceEvents"]]
        assert names.count("aten::matmul") == 1, "of one step"


def test_a_run_that_goes_on_profiles_its_first_step(tmp_path: Path) -> None:
    context: Any = SimpleNamespace(rank=0, device=torch.device("cpu"))
    StepProfiler(MetricsConfig(profile_steps=[8]), str(tmp_path), context, first_step=7).after_step(finished(8))
    assert (tmp_path / "profile" / "step-8.rank-0.trace.json").is_file()


def test_a_rank_s_time_ends_where_gradients_are_summed() -> None:
    def sum_slowly(*_: Any) -> str:
        time.sleep(0.2)
        return "summed"

    config = SimpleNamespace(finalize_model_grads_func=sum_slowly)
    times = RankTimes(config, torch.device("cpu"))
    for seconds in (0.3, 0.01):
        time.sleep(seconds)
        begin = time.perf_counter()
        assert config.finalize_model_grads_func([], None) == "summed"
        taken = times.take()
        assert seconds <= taken and (seconds == 0.3 or taken < 0.01 + time.perf_counter() - begin)
    found = _compared(0.5)
    assert found == {"rank_seconds/fastest": 0.5, "rank_seconds/slowest": 0.5, "rank_seconds/slowest_rank": 0.0}


def test_steps_begin_with_one() -> None:
    with pytest.raises(UserError, match="profile_steps: steps are counted from 1"):
        MetricsConfig(profile_steps=[0])
