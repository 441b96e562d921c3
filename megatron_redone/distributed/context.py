"""Starts and ends the process groups. The only file that touches megatron-core's process-group globals."""

import datetime
import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from megatron.core.process_groups_config import ProcessGroupCollection

from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.distributed.collectives import errors_stop_all_ranks
from megatron_redone.distributed.device import claim_device
from megatron_redone.distributed.random import seed_all
from megatron_redone.errors import UserError
from megatron_redone.processes.environment import set_layout_environment
from megatron_redone.processes.network import allow_many_sockets
from megatron_redone.processes.parent import end_with_launcher


@dataclass(frozen=True, kw_only=True)
class ParallelContext:
    """What one process knows about its place among the others.

    Attributes:
        config: The layout it was started with.
        device: The device of this process.
        rank: Its number among all `world_size` processes.
        data_rank: Which share of the batch it reads; the same for all processes of one copy of the model.
        groups: The process groups, under megatron-core's names (tp, pp, cp, dp, dp_cp, ...).
    """

    config: ParallelConfig
    device: torch.device
    rank: int
    world_size: int
    tensor_rank: int
    pipeline_rank: int
    context_rank: int
    data_rank: int
    data_size: int
    groups: ProcessGroupCollection

    @property
    def is_main(self) -> bool:
        """Whether this is the process that speaks for all."""
        return self.rank == 0

    @property
    def is_last_stage(self) -> bool:
        """Whether losses are computed on this process."""
        return self.pipeline_rank == self.config.pipeline_model_parallel_size - 1


def start_context(config: ParallelConfig, device: Device = Device.auto, seed: int = 1234) -> ParallelContext:
    """Starts the process groups of a layout, and seeds the random numbers.

    The processes come from torchrun's environment variables; without them this is a run of one process.

    Raises:
        UserError: when the layout does not divide the processes, in a run of one process.
        SystemExit: for the same mistake where there are more, after rank 0 has told it.
    """
    if device is not Device.cpu:
        set_layout_environment(config)
    own = claim_device(device)
    _join_processes(own, config.timeout_minutes)
    with errors_stop_all_ranks():
        check_world(config, dist.get_world_size())
    parallel_state.initialize_model_parallel(
        tensor_model_parallel_size=config.tensor_model_parallel_size,
        pipeline_model_parallel_size=config.pipeline_model_parallel_size,
        virtual_pipeline_model_parallel_size=config.virtual_pipeline_model_parallel_size,
        context_parallel_size=config.context_parallel_size,
        distributed_timeout_minutes=config.timeout_minutes,
    )
    context = _read_context(config, own)
    seed_all(seed, pipeline_rank=context.pipeline_rank)
    return context


def destroy_context() -> None:
    """Ends the process groups; another layout may be started after it."""
    parallel_state.destroy_model_parallel()
    if dist.is_initialized():
        dist.destroy_process_group()


def check_world(config: ParallelConfig, world_size: int) -> None:
    """Refuses a layout that does not divide the number of processes."""
    size = config.model_parallel_size
    if world_size % size:
        raise UserError(
            f"one copy of the model takes {size} processes (tensor {config.tensor_model_parallel_size} x pipeline "
            f"{config.pipeline_model_parallel_size} x context {config.context_parallel_size}), which does not divide "
            f"the {world_size} that run; start a multiple of {size} or change the parallel sizes"
        )


def _join_processes(device: torch.device, timeout_minutes: int) -> None:
    backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
    timeout = datetime.timedelta(minutes=timeout_minutes)
    if "WORLD_SIZE" in os.environ:
        end_with_launcher()
        allow_many_sockets()
        dist.init_process_group(backend, timeout=timeout)
        return
    # Alone: a store in memory needs no port.
    store = dist.HashStore()  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=store, rank=0, world_size=1, timeout=timeout)


def _read_context(config: ParallelConfig, device: torch.device) -> ParallelContext:
    return ParallelContext(
        config=config,
        device=device,
        rank=dist.get_rank(),
        world_size=dist.get_world_size(),
        tensor_rank=parallel_state.get_tensor_model_parallel_rank(),
        pipeline_rank=parallel_state.get_pipeline_model_parallel_rank(),
        context_rank=parallel_state.get_context_parallel_rank(),
        data_rank=parallel_state.get_data_parallel_rank(),
        data_size=parallel_state.get_data_parallel_world_size(),
        groups=ProcessGroupCollection.use_mpu_process_groups(),
    )
