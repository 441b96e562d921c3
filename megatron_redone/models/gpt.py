"""A GPTModel whose rotary positions are what the batch says."""

from typing import Any

import torch
from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules
from megatron.core.transformer.transformer_config import TransformerConfig
from megatron.core.utils import get_pg_rank

from megatron_redone.config.model import Backend
from megatron_redone.models.architecture import Architecture
from megatron_redone.models.rotary import RotaryTable, inverse_frequencies


class ExplicitPositionModel(GPTModel):
    """Rotates by `position_ids` instead of by the index within the row.

    Restarted positions in a packed row and a row shared over ranks then need no special treatment.
    """

    rotary: RotaryTable

    def _preprocess(  # type: ignore[override]
        self, input_ids: torch.Tensor, position_ids: torch.Tensor, **_: Any
    ) -> tuple[torch.Tensor | None, torch.Tensor, None, None, None, None]:
        """Embeds tokens int64 [B, S] on the first piece, and makes the rotary table of every piece."""
        hidden = self.embedding(input_ids=input_ids, position_ids=position_ids) if self.pre_process else None
        return hidden, self.rotary(position_ids), None, None, None, None


def make_chunk(
    architecture: Architecture,
    config: TransformerConfig,
    spec: TransformerBlockSubmodules,
    backend: Backend,
    *,
    vocab_size: int,
    pre_process: bool,
    post_process: bool,
    vp_stage: int | None,
    device: torch.device,
) -> GPTModel:
    """Builds one pipeline piece with weights not yet drawn.

    Args:
        vocab_size: Padded rows over all tensor-parallel ranks.
        pre_process: Whether it holds the embedding.
        post_process: Whether it holds the output layer.
        vp_stage: Its number on this rank under an interleaved schedule.
    """
    ours = backend is Backend.torch
    chunk = (ExplicitPositionModel if ours else GPTModel)(
        config=config,
        transformer_layer_spec=spec,  # type: ignore[arg-type]
        vocab_size=vocab_size,
        max_sequence_length=architecture.max_position_embeddings,
        pre_process=pre_process,
        post_process=post_process,
        parallel_output=True,
        share_embeddings_and_output_weights=architecture.tie_word_embeddings,
        position_embedding_type="none" if ours else "rope",
        rotary_base=architecture.rotary.theta,  # type: ignore[arg-type]
        vp_stage=vp_stage,
    )
    if ours:
        chunk.rotary = RotaryTable(architecture.rotary, device)
    else:
        # megatron-core knows one of transformers' scalings, and only with numbers of its own.
        chunk.rotary_pos_emb.inv_freq = inverse_frequencies(architecture.rotary)[0].to(device)
    if device.type == "cpu" and pre_process and post_process:
        # Embedding and output layer both add to the main gradient by themselves (cpu_platform.py): what the
        # output layer hands to autograd is not read, and need not be zeroed.
        chunk.embedding.word_embeddings.weight.zero_out_wgrad = False  # type: ignore[attr-defined]
    if post_process:
        _silence_padding(chunk, architecture.vocab_size)
    return chunk.to(device)


def _silence_padding(chunk: GPTModel, vocab_size: int) -> None:
    """Gives rows of padding no share of the softmax, or the loss would depend on how much padding a layout needs."""
    layer = chunk.output_layer
    start = get_pg_rank(layer.tp_group) * layer.output_size_per_partition

    def silence(_: torch.nn.Module, __: Any, output: tuple[torch.Tensor, Any]) -> None:
        logits = output[0]
        gathered = logits.shape[-1] > layer.output_size_per_partition
        first = max(vocab_size - (0 if gathered else start), 0)
        # Autograd need not know: the softmax's gradient is exactly zero there.
        logits.detach()[..., first:].fill_(-torch.inf)

    if layer.output_size > vocab_size:
        layer.register_forward_hook(silence)
