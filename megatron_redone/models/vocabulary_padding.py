"""The vocabulary's rows of padding take no part in the loss."""

from typing import Any

import torch
from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.utils import get_pg_rank


def silence_padding(chunk: GPTModel, vocab_size: int) -> None:
    """Keeps rows of padding out of the softmax, or the loss would depend on how many a layout needs.

    Args:
        chunk: A model chunk that holds the output layer.
        vocab_size: Ids of the model; rows from there on are padding.
    """
    layer = chunk.output_layer
    start = get_pg_rank(layer.tp_group) * layer.output_size_per_partition

    def silence(_: torch.nn.Module, __: Any, output: tuple[torch.Tensor, Any]) -> None:
        logits = output[0]
        gathered = logits.shape[-1] > layer.output_size_per_partition
        first = max(vocab_size - (0 if gathered else start), 0)
        # Autograd need not know: the softmax's gradient is exactly zero there. Not minus infinity: a rank that holds
        # nothing but padding would subtract its own largest from it, itself infinite.
        logits.detach()[..., first:].fill_(torch.finfo(logits.dtype).min)

    if layer.output_size > vocab_size:
        layer.register_forward_hook(silence)
