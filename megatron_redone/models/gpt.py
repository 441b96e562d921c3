"""GPTModels whose logits are computed where they are asked for, and whose rotary positions are the batch's."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.tensor_parallel.mappings import gather_from_sequence_parallel_region
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules
from megatron.core.transformer.transformer_config import TransformerConfig

from megatron_redone.architectures import Architecture
from megatron_redone.config.model import Backend
from megatron_redone.models.rotary import RotaryTable, inverse_frequencies
from megatron_redone.models.vocabulary_padding import silence_padding


class SelectiveModel(GPTModel):
    """Leaves out the logits of positions whose loss nobody asks for.

    In fine-tuning these are most positions, and the logits of a small model are a fifth of its work.
    """

    def _postprocess(self, hidden_states: torch.Tensor, *args: Any, loss_mask: Any = None, **kwargs: Any) -> Any:
        """With a `loss_mask` of positions int64 [n] in the flattened [B, S] the losses of these only, [n]."""
        if loss_mask is None or not self.post_process:
            return super()._postprocess(hidden_states, *args, **kwargs)
        chosen = loss_mask  # megatron-core has no other name to hand it through
        labels = kwargs["labels"].flatten()[chosen]
        output_weight = self.shared_embedding_or_output_weight() if self.share_embeddings_and_output_weights else None
        hidden = _choose(hidden_states, chosen, self.output_layer)
        with _whole_sequence(self.output_layer):
            logits, _ = self.output_layer(hidden, weight=output_weight)
        return self.compute_language_model_loss(labels[None], logits).flatten()


def _choose(hidden_SBH: torch.Tensor, chosen: torch.Tensor, layer: Any) -> torch.Tensor:
    """Hidden states [n, 1, H] of the chosen positions of [B, S], whole on every tensor-parallel rank."""
    if layer.sequence_parallel:
        # The layer's backward pass sums over the ranks itself: each takes back its part of the sequence.
        hidden_SBH = gather_from_sequence_parallel_region(hidden_SBH, False, group=layer.tp_group)
    return hidden_SBH.transpose(0, 1).flatten(0, 1)[chosen].unsqueeze(1)


@contextmanager
def _whole_sequence(layer: Any) -> Iterator[None]:
    """Has an output layer take its input as it is, under sequence parallelism too."""
    if not layer.sequence_parallel:
        yield
        return
    layer.sequence_parallel, layer.allreduce_dgrad = False, True
    try:
        yield
    finally:
        layer.sequence_parallel, layer.allreduce_dgrad = True, False


class ExplicitPositionModel(SelectiveModel):
    """Rotates by `position_ids` instead of by the index within the row.

    Restarted positions in a packed row and a row shared over ranks then need no special treatment.
    """

    rotary: RotaryTable

    def _preprocess(  # type: ignore[override]
        self, input_ids: torch.Tensor, position_ids: torch.Tensor, **_: Any
    ) -> tuple[torch.Tensor | None, torch.Tensor, None, None, None, None]:
        """Embeds tokens int64 [B, S] on the first model chunk, and makes the rotary table of every model chunk."""
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
    """Builds one pipeline model chunk with weights not yet drawn.

    Args:
        vocab_size: Padded rows over all tensor-parallel ranks.
        pre_process: Whether it holds the embedding.
        post_process: Whether it holds the output layer.
        vp_stage: Its number on this rank under an interleaved schedule.
    """
    ours = backend is Backend.torch
    chunk = (ExplicitPositionModel if ours else SelectiveModel)(
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
        # Embedding and output layer both add to the main gradient by themselves (cpu_kernels.py): what the
        # output layer hands to autograd is not read, and need not be zeroed.
        chunk.embedding.word_embeddings.weight.zero_out_wgrad = False  # type: ignore[attr-defined]
    if post_process:
        silence_padding(chunk, architecture.vocab_size)
    return chunk.to(device)
