"""Self-attention of the torch backend: explicit rotary positions, SDPA, packed rows, context parallelism.

Shapes: S tokens of the row on this rank, B rows, N query heads, G key/value heads, D head size.
"""

from typing import Any

import torch
from megatron.core.transformer.attention import SelfAttention
from torch.nn.functional import scaled_dot_product_attention

from megatron_redone.distributed.context_parallel import gather_sequence
from megatron_redone.distributed.head_exchange import heads_to_tokens, tokens_to_heads
from megatron_redone.distributed.row_layout import RowLayout
from megatron_redone.models.rotary import rotate, split_and_rotate


class TorchSelfAttention(SelfAttention):
    """megatron-core's weights and checkpoint keys, with a forward pass of its own.

    The parent's forward recomputes cosines and sines in every layer, and its packed format would rotate
    by segment; here the rotation is what the batch's positions say.
    """

    def forward(  # type: ignore[override]
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None,
        rotary_pos_emb: torch.Tensor | None = None,
        packed_seq_params: RowLayout | None = None,
        **_: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Hidden states [S, B, H] (S/TP under sequence parallelism) to the same, and the bias to add.

        Args:
            hidden_states: The normalised input.
            attention_mask: None; masks follow from positions.
            rotary_pos_emb: The table of `RotaryTable`.
            packed_seq_params: How the rows are laid out.
        """
        assert attention_mask is None and rotary_pos_emb is not None
        query, key, value = self._project(hidden_states, rotary_pos_emb)
        if self.checkpoint_core_attention and self.training:
            core = self._checkpointed_attention_forward(query, key, value, None, packed_seq_params=packed_seq_params)
        else:
            core = self.core_attention(query, key, value, None, packed_seq_params=packed_seq_params)  # type: ignore[operator]
        return self.linear_proj(core)

    def _project(self, hidden: torch.Tensor, table: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rotated queries [S, B, N, D] and keys [S, B, G, D], and values [S, B, G, D]."""
        groups = self.config.num_query_groups
        assert groups is not None
        shares_groups = groups < self.world_size  # then megatron-core gathers and cuts
        if not (self.config.qk_layernorm or shares_groups):
            mixed, _ = self.get_query_key_value_tensors(hidden, split_qkv=False)  # type: ignore[misc]
            return split_and_rotate(mixed, table, self.hidden_size_per_attention_head)
        query, key, value = self.get_query_key_value_tensors(hidden)  # type: ignore[misc]
        # A view would keep the whole of query, key and value alive until the backward pass.
        return rotate(query, table), rotate(key, table), value.contiguous()  # type: ignore[arg-type,union-attr]


class TorchCoreAttention(torch.nn.Module):
    """Causal attention over torch's scaled_dot_product_attention."""

    def __init__(self, config: Any, pg_collection: Any, softmax_scale: float | None = None, **_: Any) -> None:
        super().__init__()
        self.group = pg_collection.cp
        self.context_size = config.context_parallel_size
        self.exchanges_heads = config.cp_comm_type == "a2a"
        self.scale = softmax_scale

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        packed_seq_params: RowLayout | None = None,
        **_: Any,
    ) -> torch.Tensor:
        """Query [S, B, N, D], key and value [S, B, G, D] to [S, B, N * D]."""
        row_layout = packed_seq_params
        assert row_layout is None or isinstance(row_layout, RowLayout)
        if row_layout is not None and row_layout.cache is not None:
            out = self._attend(query, *row_layout.cache.extend(self, key, value))
        elif self.context_size > 1:
            assert row_layout is not None, "context parallelism needs the layout of the rows"
            over_ranks = self._over_heads if self.exchanges_heads else self._over_keys
            out = over_ranks(query, key, value, row_layout)
        else:
            out = self._whole_row(query, key, value, row_layout)
        return out.flatten(2)

    def _whole_row(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, row_layout: RowLayout | None
    ) -> torch.Tensor:
        if row_layout is not None and row_layout.cu_seqlens is not None:
            return self._by_segment(query, key, value, row_layout)
        return self._attend(query, key, value)

    def _by_segment(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, row_layout: RowLayout
    ) -> torch.Tensor:
        """Each segment by itself: what lies outside it cannot change it, not even in the last bit."""
        outputs = []
        for segment in row_layout.segments:
            own = slice(segment.begin, segment.end)
            keys, values, allowed = key[own], value[own], None
            if segment.has_prefix:
                prefix = slice(segment.prefix_begin, segment.prefix_end)
                keys, values = torch.cat([key[prefix], keys]), torch.cat([value[prefix], values])
                allowed = row_layout.segment_mask(segment, key.device)
            outputs.append(self._attend(query[own], keys, values, allowed))
        return torch.cat(outputs)

    def _over_heads(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, row_layout: RowLayout
    ) -> torch.Tensor:
        """The whole row, for this rank's share of the heads."""
        query, key, value = (tokens_to_heads(tensor, self.group) for tensor in (query, key, value))
        return heads_to_tokens(self._whole_row(query, key, value, row_layout), self.group)

    def _over_keys(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, row_layout: RowLayout
    ) -> torch.Tensor:
        """This rank's two chunks against the keys of the whole row, each as far as it may look."""
        key, value = gather_sequence(key, self.group), gather_sequence(value, self.group)
        outputs = []
        for part, mask in zip(query.chunk(2), row_layout.chunk_masks(key.shape[0], key.device), strict=True):
            keys, values = key[mask.first : mask.last], value[mask.first : mask.last]
            outputs.append(self._attend(part, keys, values, mask.allowed))
        return torch.cat(outputs)

    def _attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, allowed: torch.Tensor | None = None
    ) -> torch.Tensor:
        if allowed is not None and query.device.type == "cuda":
            # No kernel takes both a mask and shared heads: torch would write out all scores, [B, N, S, S].
            key, value = (_one_for_each(query, shared) for shared in (key, value))
        # SDPA wants [B, N, S, D]; strides are enough, nothing is copied.
        out = scaled_dot_product_attention(
            query.permute(1, 2, 0, 3),
            key.permute(1, 2, 0, 3),
            value.permute(1, 2, 0, 3),
            attn_mask=allowed,
            is_causal=allowed is None,
            scale=self.scale,
            enable_gqa=query.shape[2] != key.shape[2],
        )
        return out.permute(2, 0, 1, 3)


def _one_for_each(query: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
    """Keys or values [S, B, G, D] repeated for every query head: [S, B, N, D]."""
    return shared.repeat_interleave(query.shape[2] // shared.shape[2], dim=2)
