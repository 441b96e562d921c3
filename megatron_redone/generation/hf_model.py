"""An exported model, loaded and ready to be asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import torch

from megatron_redone.config.tokenizer import TokenizerConfig
from megatron_redone.errors import UserError
from megatron_redone.formats.hf_folder import find_hf_folder
from megatron_redone.generation.model_files import load_causal_lm, load_tokenizer
from megatron_redone.generation.placement import Placement
from megatron_redone.generation.prefix_cache import SharedPrefixes, behind, can_share
from megatron_redone.tokenization.tokenizer import Tokenizer


class Head(Protocol):
    """States [K, H] to logits [K, V]."""

    def __call__(self, states: torch.Tensor, /) -> torch.Tensor: ...


class States(Protocol):
    """Tokens int64 [B, S], behind keys and values of what came before them, to what a head takes, [B, S, H]."""

    def __call__(self, tokens: torch.Tensor, past: Any = None, /) -> torch.Tensor: ...


class Prefixes(Protocol):
    """Keys and values that many sequences share."""

    def cache(self, ids: list[int]) -> Any:
        """Those of a prefix."""
        ...

    def for_rows(self, cache: Any, rows: int) -> Any:
        """The same for a batch of rows, which leaves the prefix as it was."""
        ...


class Generate(Protocol):
    """The next tokens int64 [B * answers, L + new] of tokens int64 [B, L] with a mask of the same shape.

    `settings` is transformers' GenerationConfig, `has_ended` takes tokens [B, L] and says of each row whether it has
    all it needs, `past` stands for the first columns.
    """

    def __call__(
        self, tokens: torch.Tensor, mask: torch.Tensor, settings: Any, has_ended: Any = None, past: Any = None
    ) -> torch.Tensor: ...


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model and its tokenizer.

    Attributes:
        folder: Where its tokenizer was loaded from.
        model: transformers' own or megatron-core's, in evaluation mode.
        tokenizer: transformers' own, with a chat template if the model or the user has one.
        states: Tokens to states.
        head: States to logits.
        generate: Tokens to tokens.
        prefixes: What computes a shared prefix once; None where the model keeps more than plain keys and values.
        vocab_size: Columns of logits.
        end_ids: Tokens that end an answer.
        limit: Positions that the model knows.
        device: Where it is.
    """

    folder: Path
    model: Any
    tokenizer: Any
    states: States
    head: Head
    generate: Generate
    prefixes: Prefixes | None
    vocab_size: int
    end_ids: list[int]
    limit: int
    device: torch.device

    @cached_property
    def texts(self) -> Tokenizer:
        """The tokenizer as pretraining uses it: special tokens that stand in a text are text."""
        return Tokenizer(TokenizerConfig(path=str(self.folder)), fast=False)

    @cached_property
    def document_start(self) -> int:
        """The token that stands before a document's first: BOS, or the one that ended the document before.

        Raises:
            UserError: the tokenizer has neither.
        """
        if self.texts.prefix:
            return self.texts.prefix[-1]
        if self.texts.eod_id is None:
            raise UserError(f"{self.texts.path}: its tokenizer has no token that begins or ends a document")
        return self.texts.eod_id


def load_model(path: str, place: Placement, chat_template: str | None = None) -> LoadedModel:
    """Loads a directory.

    Args:
        path: A directory, or a name on the hub.
        place: Where to, and in which type.
        chat_template: A Jinja file to use instead of the model's own template.

    Raises:
        UserError: transformers is missing, or cannot load the directory.
    """
    folder = find_hf_folder(path)
    model = load_causal_lm(folder, place)
    tokenizer = load_tokenizer(folder, chat_template)
    states, head = _split_head(model, place.device)
    end_ids = model_end_ids(model.generation_config, tokenizer)
    # What a model's own settings ask for (sampling, penalties) would fill the gaps of ours.
    model.generation_config = type(model.generation_config)()
    return LoadedModel(
        folder=folder,
        model=model,
        tokenizer=tokenizer,
        states=states,
        head=head,
        generate=partial(_generate, model),
        prefixes=SharedPrefixes(model) if can_share(model) else None,
        vocab_size=model.config.get_text_config().vocab_size,
        end_ids=end_ids,
        limit=getattr(model.config, "max_position_embeddings", None) or 1 << 30,
        device=place.device,
    )


def _split_head(model: Any, device: torch.device) -> tuple[States, Head]:
    """The model as two functions, so that logits exist for a few tokens at a time only.

    A model that does more to its logits than one matrix product (soft-capping, scaling) is one function, and its
    head does nothing.
    """

    def hidden(tokens: torch.Tensor, past: Any = None) -> torch.Tensor:
        return model.get_decoder()(tokens, use_cache=past is not None, **behind(model, past)).last_hidden_state

    def logits(tokens: torch.Tensor, past: Any = None) -> torch.Tensor:
        return model(tokens, use_cache=past is not None, **behind(model, past)).logits

    head = model.get_output_embeddings()
    probe = torch.arange(1, 9, device=device)[None]
    with torch.inference_mode():
        if torch.allclose(head(hidden(probe)).float(), logits(probe).float(), rtol=1e-3, atol=1e-3):
            return hidden, head
    return logits, torch.nn.Identity()


def _generate(
    model: Any, tokens: torch.Tensor, mask: torch.Tensor, settings: Any, has_ended: Any = None, past: Any = None
) -> torch.Tensor:
    """transformers' own; `past` is spent."""
    criteria = None if has_ended is None else [lambda found, _: has_ended(found)]
    return model.generate(
        tokens,
        attention_mask=mask,
        generation_config=settings,
        stopping_criteria=criteria,
        **behind(model, past),
    )


def model_end_ids(settings: Any, tokenizer: Any) -> list[int]:
    """The model's own, which its generation_config.json names, and the one that ends a turn."""
    own = settings.eos_token_id
    ids: Sequence[int | None] = own if isinstance(own, list) else [own]
    return sorted({number for number in [*ids, tokenizer.eos_token_id] if number is not None})
