"""A run's checkpoint as a loaded model, computed by megatron-core: a run can be judged without being exported.

One process holds the whole model; B rows, S tokens, H hidden.
"""

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from megatron_redone.architectures import read_architecture
from megatron_redone.checkpoint.record import hf_folder
from megatron_redone.config.model import Backend, ModelConfig, Precision
from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.distributed import destroy_context, start_context
from megatron_redone.distributed.row_layout import RowLayout
from megatron_redone.errors import UserError
from megatron_redone.generation.hf_model import LoadedModel, model_end_ids
from megatron_redone.generation.model_files import load_generation_settings, load_tokenizer
from megatron_redone.generation.placement import Placement
from megatron_redone.models.build import build_model
from megatron_redone.models.key_value_cache import KeyValueCache
from megatron_redone.training.initial_weights import InitialWeights


def load_checkpoint(checkpoint: Path, place: Placement, chat_template: str | None = None) -> LoadedModel:
    """Builds the model of a checkpoint and takes its weights, saved on whatever layout.

    Args:
        checkpoint: Of a run.
        place: Where to, and in which type.
        chat_template: A Jinja file to use instead of the one that the checkpoint carries.

    Raises:
        UserError: the checkpoint cannot be used.
    """
    folder = hf_folder(checkpoint)
    if dist.is_initialized():
        destroy_context()
    context = start_context(ParallelConfig(), Device.cuda if place.device.type == "cuda" else Device.cpu)
    architecture = read_architecture(folder / "config.json")
    precision = Precision.bf16 if place.dtype is torch.bfloat16 else Precision.fp32
    compute = ModelConfig(hf_config=str(folder), backend=Backend.torch, precision=precision)
    model = build_model(architecture, compute, context, seed=None)
    InitialWeights(folder=checkpoint, of_run=True).fill(model)
    [chunk] = model.chunks
    network = _Network(chunk.eval(), architecture.vocab_size)
    tokenizer = load_tokenizer(folder, chat_template)
    return LoadedModel(
        folder=folder,
        model=chunk,
        tokenizer=tokenizer,
        states=network.states,
        head=network.head,
        generate=network.generate,
        prefixes=network,
        vocab_size=architecture.vocab_size,
        end_ids=model_end_ids(load_generation_settings(folder), tokenizer),
        limit=architecture.max_position_embeddings or 1 << 30,
        device=context.device,
    )


class _Network:
    """megatron-core's model, asked as transformers' is."""

    def __init__(self, chunk: Any, vocab_size: int) -> None:
        """Takes a model of one chunk, whose output layer is asked for by itself from now on."""
        chunk.post_process = False
        self._chunk, self._vocab = chunk, vocab_size

    def states(self, tokens: torch.Tensor, past: KeyValueCache | None = None, /) -> torch.Tensor:
        """See `States`."""
        cache = past or KeyValueCache()
        seen = torch.ones(len(tokens), cache.length + tokens.shape[1], dtype=torch.bool, device=tokens.device)
        return self._read(tokens, seen, cache)

    def head(self, states: torch.Tensor, /) -> torch.Tensor:
        """See `Head`; without the columns that only fill up."""
        chunk = self._chunk
        weight = chunk.shared_embedding_or_output_weight() if chunk.share_embeddings_and_output_weights else None
        logits, _ = chunk.output_layer(states[:, None], weight=weight)
        return logits[:, 0, : self._vocab]

    @torch.inference_mode()
    def cache(self, ids: list[int]) -> KeyValueCache:
        """See `Prefixes`."""
        cache = KeyValueCache()
        tokens = torch.tensor([ids], device=next(self._chunk.parameters()).device)
        self._read(tokens, torch.ones_like(tokens, dtype=torch.bool), cache)
        return cache

    def for_rows(self, cache: KeyValueCache, rows: int) -> KeyValueCache:
        """See `Prefixes`."""
        return cache.for_rows(rows)

    @torch.inference_mode()
    def generate(
        self, tokens: torch.Tensor, mask: torch.Tensor, settings: Any, has_ended: Any = None, past: Any = None
    ) -> torch.Tensor:
        """See `Generate`; the likeliest token every time.

        Raises:
            UserError: answers are to be drawn.
        """
        if settings.do_sample:
            raise UserError("a run's checkpoint gives the likeliest answers only; export it to draw others")
        cache, seen, new = past or KeyValueCache(), mask.bool(), tokens
        ends = torch.tensor(settings.eos_token_id or [], device=tokens.device)
        done = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
        new = tokens[:, cache.length :]
        for _ in range(settings.max_new_tokens):
            state = self._read(new, seen, cache)[:, -1]
            new = self.head(state).argmax(1)[:, None].masked_fill(done[:, None], settings.pad_token_id)
            tokens, seen = torch.cat([tokens, new], 1), torch.cat([seen, ~done[:, None]], 1)
            done = done | torch.isin(new[:, 0], ends)
            done = done if has_ended is None else done | has_ended(tokens)
            if done.all():
                break
        return tokens

    def _read(self, tokens: torch.Tensor, seen: torch.Tensor, cache: KeyValueCache) -> torch.Tensor:
        """States [B, S, H] of tokens [B, S] behind what the cache holds; `seen` bool [B, all] leaves out padding."""
        cache.read(seen)
        positions = (seen.long().cumsum(1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
        states = self._chunk(tokens, positions, None, packed_seq_params=RowLayout(cache=cache))
        return states.transpose(0, 1)
