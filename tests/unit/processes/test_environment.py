"""What CUDA, NCCL and Transformer Engine find in the environment, whoever started the process."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from megatron_redone.config.metrics import MetricsConfig
from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.processes.environment import set_environment
from tests.helpers.pretrain_runs import write_inputs


def environment(parallel: dict[str, Any], device: Device = Device.auto, **outside: str) -> dict[str, str]:
    config = SimpleNamespace(device=device, parallel=ParallelConfig(**parallel), metrics=MetricsConfig())
    found = dict(outside)
    set_environment(config, found)
    return found


@pytest.mark.parametrize(
    ("parallel", "connections"),
    [({}, "8"), ({"tensor_model_parallel_size": 2}, "1"), ({"context_parallel_size": 2}, "1")],
)
def test_the_order_of_collectives_follows_the_layout(parallel: dict[str, Any], connections: str) -> None:
    assert environment(parallel)["CUDA_DEVICE_MAX_CONNECTIONS"] == connections


def test_what_is_set_outside_counts() -> None:
    found = environment(
        {}, CUDA_DEVICE_MAX_CONNECTIONS="32", NCCL_NVLS_ENABLE="1", WORLD_SIZE="8", LOCAL_WORLD_SIZE="8"
    )
    assert (found["CUDA_DEVICE_MAX_CONNECTIONS"], found["NCCL_NVLS_ENABLE"]) == ("32", "1")


def test_room_for_nccl_is_left_where_there_are_others() -> None:
    margins = {"NVTE_FWD_LAYERNORM_SM_MARGIN", "NVTE_BWD_LAYERNORM_SM_MARGIN"}
    assert not margins & environment({}).keys()
    found = environment({}, WORLD_SIZE="8", LOCAL_WORLD_SIZE="8")
    assert {found[name] for name in margins} == {"16"} and found["TORCH_NCCL_HIGH_PRIORITY"] == "1"
    assert "GLOO_SOCKET_IFNAME" not in found, "on one machine every interface will do"


def test_a_cpu_run_sees_no_device_and_nothing_else_changes() -> None:
    assert environment({}, Device.cpu, CUDA_VISIBLE_DEVICES="0,1") == {"CUDA_VISIBLE_DEVICES": ""}
    found: dict[str, str] = {}
    set_environment(SimpleNamespace(input="posts.jsonl"), found)
    assert found == {}


def test_calls_of_nccl_are_recorded_where_it_is_asked_for() -> None:
    found: dict[str, str] = {}
    metrics = MetricsConfig(flight_recorder=True)
    set_environment(
        SimpleNamespace(device=Device.cuda, parallel=ParallelConfig(), metrics=metrics, output_dir="runs/a"), found
    )
    assert found["TORCH_NCCL_DUMP_ON_TIMEOUT"] == "1" and int(found["TORCH_FR_BUFFER_SIZE"]) > 0
    assert found["TORCH_FR_DUMP_TEMP_FILE"] == "runs/a/flight_recorder/rank_"


_STAND_IN = """
import os, torch
if os.environ.get("CUDA_VISIBLE_DEVICES") != "":  # as flash-attn has it: its import asks the device what it is
    torch.cuda.is_initialized = lambda: True
raise ModuleNotFoundError("its kernels are missing")
"""


@pytest.mark.slow
def test_a_cpu_run_bears_an_engine_whose_import_starts_cuda(tmp_path: Path) -> None:
    package = tmp_path / "packages" / "transformer_engine"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(_STAND_IN)
    paths = os.pathsep.join([str(package.parent), str(Path(__file__).parents[3])])
    outside = {**os.environ, "PYTHONPATH": paths}
    outside.pop("CUDA_VISIBLE_DEVICES", None)
    keys = [*write_inputs(tmp_path), f"output_dir={tmp_path}/run", "training.train_steps=1"]
    words = [sys.executable, "-W", "ignore", "-m", "megatron_redone", "pretrain", *keys]
    done = subprocess.run([*words, "device=cpu"], capture_output=True, text=True, env=outside, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
