"""The buffers of Transformer Engine's overlap of tensor-parallel communication with matrix products."""

import os

from megatron.core.transformer.transformer_config import TransformerConfig

from megatron_redone.errors import UserError


def refuse_tensor_overlap(config: TransformerConfig) -> None:
    """Stops a run whose micro-batches differ in length: the buffers have one.

    Raises:
        UserError: `tp_comm_overlap` is on.
    """
    if config.tp_comm_overlap:
        raise UserError(
            "parallel.tp_comm_overlap: needs micro-batches of one length, which rows of pairs are not, nor packed rows "
            "under context parallelism; leave it false"
        )


def start_tensor_overlap(config: TransformerConfig, tokens: int) -> None:
    """Makes them, where `tp_comm_overlap` is on; before the first forward pass, on all ranks.

    What Megatron-LM's training script does for it (megatron/training/initialize.py, _initialize_tp_communicators).

    Args:
        config: Of the model.
        tokens: Of a micro-batch on one context-parallel rank; every micro-batch must have as many.

    Raises:
        UserError: the device cannot write to all others at once.
    """
    if not config.tp_comm_overlap:
        return
    _check_multicast()
    from transformer_engine.pytorch.module.base import UserBufferQuantizationMode, initialize_ub

    modes = [UserBufferQuantizationMode.NONE if config.fp8 is None else UserBufferQuantizationMode.FP8]
    if config.fp8 is not None and config.first_last_layers_bf16:
        modes.append(UserBufferQuantizationMode.NONE)
    initialize_ub(
        shape=[tokens, config.hidden_size],
        tp_size=config.tensor_model_parallel_size,
        quantization_modes=modes,
        bootstrap_backend=config.tp_comm_bootstrap_backend,
    )


def _check_multicast() -> None:
    """What initialize_ub of transformer_engine/pytorch/module/base.py (2.11) asserts, in a line."""
    import transformer_engine_torch

    if not transformer_engine_torch.device_supports_multicast() and os.environ.get("UB_SKIPMC", "0") == "0":
        raise UserError(
            "parallel.tp_comm_overlap: this device, driver or virtual machine (without NVIDIA's fabric manager) has no "
            "multicast; set UB_SKIPMC=1 in the environment to go over CUDA's IPC, or leave it false"
        )
