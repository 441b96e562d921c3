"""Builds megatron-core's optimizer over wrapped model chunks."""

from collections.abc import Sequence

import torch
from megatron.core.distributed import DistributedDataParallel
from megatron.core.optimizer import MegatronOptimizer, get_megatron_optimizer
from megatron.core.optimizer import OptimizerConfig as MegatronOptimizerConfig

from megatron_redone.config.optimizer import OptimizerConfig
from megatron_redone.errors import UserError
from megatron_redone.training.fused_adam import use_fused_adam


def build_optimizer(chunks: Sequence[DistributedDataParallel], config: OptimizerConfig) -> MegatronOptimizer:
    """AdamW with fp32 main weights, over parts of the data-parallel ranks where the model chunks were wrapped for it.

    Weights must be loaded before: under bf16 the main weights are copied from them here. After a later
    change call `optimizer.reload_model_params()`.
    """
    use_fused_adam(config.moments_dtype)
    first = chunks[0]
    if config.optimizer_offload_fraction:
        _check_offload(first)
    optimizer = get_megatron_optimizer(
        MegatronOptimizerConfig(
            optimizer="adam",
            lr=config.lr,
            min_lr=config.min_lr,
            weight_decay=config.weight_decay,
            adam_beta1=config.adam_beta1,
            adam_beta2=config.adam_beta2,
            adam_eps=config.adam_eps,
            clip_grad=config.clip_grad,
            bf16=first.config.bf16,
            params_dtype=first.config.params_dtype,
            use_distributed_optimizer=first.ddp_config.use_distributed_optimizer,
            overlap_param_gather=first.ddp_config.overlap_param_gather,
            fp8_recipe=first.config.fp8_recipe if first.config.fp8 else None,
            # Only so are main weights offloaded too: they are the optimizer's own then, not megatron-core's.
            use_precision_aware_optimizer=config.optimizer_offload_fraction > 0,
            optimizer_cpu_offload=config.optimizer_offload_fraction > 0,
            optimizer_offload_fraction=config.optimizer_offload_fraction,
            overlap_cpu_optimizer_d2h_h2d=config.optimizer_offload_fraction > 0,
        ),
        list(chunks),  # type: ignore[arg-type]
    )
    for group in optimizer.param_groups:
        # megatron-core leaves it to its own scheduler to keep weight decay from norms and biases.
        group["weight_decay"] = config.weight_decay * group["wd_mult"]
    return optimizer


def _check_offload(chunk: DistributedDataParallel) -> None:
    if next(chunk.parameters()).device.type != "cuda":
        raise UserError("optimizer_offload_fraction: everything lies in main memory already on a CPU; leave it 0")
    if not chunk.ddp_config.use_distributed_optimizer:
        raise UserError("optimizer_offload_fraction: needs parallel.use_distributed_optimizer; leave it 0")
    if chunk.config.params_dtype is torch.float32:
        raise UserError(
            "optimizer_offload_fraction: not with model.precision=fp32, which megatron-core cannot resume; leave it 0"
        )
    if chunk.config.fp8_param:
        raise UserError("optimizer_offload_fraction: not with model.fp8.fp8_param_gather; leave one of them out")


def set_learning_rate(optimizer: MegatronOptimizer, learning_rate: float) -> None:
    """Sets what the next step uses."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["lr_mult"]
