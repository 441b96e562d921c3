"""What `precision=auto` stands for."""

import dataclasses
import logging

import torch

from megatron_redone.config.model import ModelConfig, Precision
from megatron_redone.distributed.bf16_support import bf16_instructions

log = logging.getLogger(__name__)


def resolve_precision(model: ModelConfig, device: torch.device, recorded: Precision | None = None) -> ModelConfig:
    """Takes the faster of bf16 and fp32 for `auto`, and tells which and why; leaves other precisions alone.

    Args:
        model: What is asked for.
        device: Where to compute.
        recorded: What a run that goes on has begun with: it stays, also on a machine where the other is faster.
    """
    if model.precision is not Precision.auto:
        return model
    chosen, reason = (recorded, "as the run began") if recorded is not None else _faster(device)
    log.info("precision: auto takes %s, %s", chosen.name, reason)
    return dataclasses.replace(model, precision=chosen)


def _faster(device: torch.device) -> tuple[Precision, str]:
    if device.type == "cuda":
        return Precision.bf16, "on a CUDA device"
    instructions = bf16_instructions()
    if instructions is None:
        return Precision.fp32, "as the processor has neither avx512_bf16 nor AMX"
    return Precision.bf16, f"as the processor has {instructions}"
