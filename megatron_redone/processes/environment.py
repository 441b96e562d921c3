"""The environment that CUDA, NCCL, gloo and Transformer Engine read once, made of a run's layout.

To be set before torch is imported: with flash-attn installed, importing Transformer Engine alone starts CUDA. What is
set outside counts. The values are those of Megatron-Bridge 0.3.1 (perf_plugins.py and executors.py) but where a line
says otherwise.
"""

import os
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from megatron_redone.config.metrics import MetricsConfig
from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.processes.network import gloo_interface


@dataclass(frozen=True)
class Setting:
    """One variable, and why it has this value."""

    name: str
    value: str
    why: str


def set_environment(config: Any, environment: MutableMapping[str, str] = os.environ) -> None:
    """Sets what a stage's configuration asks for and nobody has set; does nothing for stages that compute nothing.

    Args:
        config: Of a stage, with a `device` and a `parallel` section where it has them.
        environment: That of this process.
    """
    device: Device | None = getattr(config, "device", None)
    if device is Device.cpu:
        # Not a default: a process that has given up CUDA must not start it by an import.
        environment["CUDA_VISIBLE_DEVICES"] = ""
        return
    parallel = getattr(config, "parallel", None)
    if device is None or not isinstance(parallel, ParallelConfig):
        return
    metrics, output_dir = getattr(config, "metrics", None), getattr(config, "output_dir", None)
    set_layout_environment(parallel, environment, metrics, output_dir)


def set_layout_environment(
    parallel: ParallelConfig,
    environment: MutableMapping[str, str] = os.environ,
    metrics: MetricsConfig | None = None,
    output_dir: str | None = None,
) -> None:
    """Sets what nobody has set of `settings`, whose arguments these are."""
    for setting in settings(parallel, environment, metrics, output_dir):
        environment.setdefault(setting.name, setting.value)


def settings(
    parallel: ParallelConfig,
    environment: MutableMapping[str, str] = os.environ,
    metrics: MetricsConfig | None = None,
    output_dir: str | None = None,
) -> list[Setting]:
    """What a layout on CUDA devices wants, whether or not it is set already.

    Args:
        parallel: The layout.
        environment: Tells how many processes torchrun has started.
        metrics: Whether NCCL's calls are recorded.
        output_dir: Where to.
    """
    found = [_connections(parallel), Setting("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True", _HOLES)]
    # By cuDNN's kernels; Transformer Engine's own are the others.
    found += [Setting(f"NVTE_NORM_{way}_USE_CUDNN", "1", "norms by cuDNN") for way in ("FWD", "BWD")]
    if int(environment.get("WORLD_SIZE", "1")) > 1:
        found += [
            Setting(f"NVTE_{way}_LAYERNORM_SM_MARGIN", "16", "norms leave room to NCCL") for way in ("FWD", "BWD")
        ]
        found += _NCCL
        interface = gloo_interface(environment)
        if interface is not None:
            found.append(Setting("GLOO_SOCKET_IFNAME", interface, "the interface that leads to the other machines"))
    if metrics is not None and metrics.flight_recorder:
        found += _flight_recorder(output_dir or ".")
    return found


_HOLES = "rows differ in length: segments that grow leave fewer holes in memory"
_NCCL = [
    Setting("NCCL_NVLS_ENABLE", "0", "a gigabyte of buffers less"),
    Setting("TORCH_NCCL_AVOID_RECORD_STREAMS", "1", "memory of collectives comes back at once"),
    Setting("TORCH_NCCL_HIGH_PRIORITY", "1", "collectives go before products"),
]


def _connections(parallel: ParallelConfig) -> Setting:
    # Megatron-LM asserts 1 before Blackwell (megatron/training/arguments.py); Transformer Engine warns.
    if parallel.tensor_model_parallel_size > 1 or parallel.context_parallel_size > 1:
        return Setting("CUDA_DEVICE_MAX_CONNECTIONS", "1", "collectives start in the order in which they are issued")
    return Setting("CUDA_DEVICE_MAX_CONNECTIONS", "8", "nothing within a layer waits for a collective")


def _flight_recorder(output_dir: str) -> list[Setting]:
    """Names of torch's FlightRecorder (torch/csrc/distributed/c10d), the older first."""
    file = os.path.join(output_dir, "flight_recorder", "rank_")
    return [
        Setting("TORCH_NCCL_TRACE_BUFFER_SIZE", "2000", "NCCL's calls are recorded"),
        Setting("TORCH_FR_BUFFER_SIZE", "2000", "NCCL's calls are recorded"),
        Setting("TORCH_NCCL_DUMP_ON_TIMEOUT", "1", "and written where one hangs"),
        Setting("TORCH_NCCL_DEBUG_INFO_TEMP_FILE", file, "to this file of each rank"),
        Setting("TORCH_FR_DUMP_TEMP_FILE", file, "to this file of each rank"),
    ]
