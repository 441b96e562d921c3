"""Where, and in which type, an exported model is computed."""

from dataclasses import dataclass

import torch

from megatron_redone.config.evaluate import ComputeDtype
from megatron_redone.config.parallel import Device
from megatron_redone.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A device, and the type of weights and activations on it."""

    device: torch.device
    dtype: torch.dtype

    def __str__(self) -> str:
        """For people, and for what a result depends on: `cpu float32`."""
        return f"{self.device.type} {str(self.dtype).removeprefix('torch.')}"


def choose_device(device: Device) -> torch.device:
    """Settles `auto`: CUDA where it is there.

    Raises:
        UserError: for `cuda` on a machine without it.
    """
    has_cuda = torch.cuda.is_available()
    if device is Device.cuda and not has_cuda:
        raise UserError("device: cuda was asked for, but torch finds no CUDA device; set device=cpu or auto")
    return torch.device("cuda" if has_cuda and device is not Device.cpu else "cpu")


def choose_placement(device: Device, dtype: ComputeDtype) -> Placement:
    """Settles `auto` of both: bf16 on CUDA, fp32 on the CPU.

    Raises:
        UserError: see `choose_device`.
    """
    chosen = choose_device(device)
    bf16 = dtype is ComputeDtype.bf16 or (dtype is ComputeDtype.auto and chosen.type == "cuda")
    return Placement(device=chosen, dtype=torch.bfloat16 if bf16 else torch.float32)
