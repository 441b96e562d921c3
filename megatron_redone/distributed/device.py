"""Chooses the device of this process."""

import os
import resource

import torch

from megatron_redone.config.parallel import Device
from megatron_redone.distributed import cpu_platform
from megatron_redone.distributed.cpu_memory import keep_freed_memory
from megatron_redone.errors import UserError


def claim_device(choice: Device) -> torch.device:
    """Makes the chosen kind of device usable by megatron-core and returns this process's own.

    Raises:
        UserError: for `cuda` on a machine without it, or with more processes than devices; for `cpu` in a process that
            uses CUDA already.
    """
    if choice is Device.cpu or (choice is Device.auto and not torch.cuda.is_available()):
        if torch.cuda.is_initialized() and not cpu_platform.installed():
            # Importing Transformer Engine beside flash-attn does it. `redone` hides the devices before.
            raise UserError(
                "device: cpu cannot be taken, this process has CUDA in use; set CUDA_VISIBLE_DEVICES= for it"
            )
        cpu_platform.install()
        keep_freed_memory()
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UserError("device: cuda was asked for, but torch finds no CUDA device; set device=cpu or auto")
    assert not cpu_platform.installed(), "this process has already given up CUDA"
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    count = torch.cuda.device_count()
    if local_rank >= count:
        raise UserError(f"device: process {local_rank} of this machine has no CUDA device of its own ({count} found)")
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def peak_memory_gb(device: torch.device) -> float:
    """The most memory that this process has held: of its CUDA device, or resident. Gigabytes of 10^9 bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
