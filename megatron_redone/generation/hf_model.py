"""A Hugging Face directory as transformers loads it, and what identifies it."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from megatron_redone.config.evaluate import ComputeDtype, EvaluatedModel
from megatron_redone.config.parallel import Device
from megatron_redone.config.tokenizer import TokenizerConfig
from megatron_redone.errors import UserError
from megatron_redone.formats.hf_folder import HF_FILES, find_hf_folder
from megatron_redone.tokenization.tokenizer import Tokenizer

_WEIGHTS = "*.safetensors"


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where and in which type all models of an evaluation are computed."""

    device: torch.device
    dtype: torch.dtype

    def __str__(self) -> str:
        """For people, and for what a result depends on: `cpu float32`."""
        return f"{self.device.type} {str(self.dtype).removeprefix('torch.')}"


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model and its tokenizer.

    Attributes:
        label: Its name in tables.
        model: transformers' own, in evaluation mode.
        tokenizer: transformers' own, with a chat template if the model or the user has one.
        texts: The tokenizer as pretraining uses it: special tokens that stand in a text are text.
        states: Tokens int64 [B, S] to what `head` takes, [B, S, H].
        head: States [K, H] to logits [K, V].
        document_start: The token that stands before a document's first: BOS, or the one that ended the document before.
        end_ids: Tokens that end an answer.
        limit: Positions that the model knows.
        device: Where it is.
    """

    label: str
    model: Any
    tokenizer: Any
    texts: Tokenizer
    states: Callable[[torch.Tensor], torch.Tensor]
    head: Callable[[torch.Tensor], torch.Tensor]
    document_start: int
    end_ids: list[int]
    limit: int
    device: torch.device

    @property
    def parameters(self) -> int:
        """How many the model has, tied ones once."""
        return sum(parameter.numel() for parameter in self.model.parameters())


def placement(device: Device, dtype: ComputeDtype) -> Placement:
    """Settles `auto`.

    Raises:
        UserError: for `cuda` on a machine without it.
    """
    has_cuda = torch.cuda.is_available()
    if device is Device.cuda and not has_cuda:
        raise UserError("device: cuda was asked for, but torch finds no CUDA device; set device=cpu or auto")
    on_cuda = has_cuda and device is not Device.cpu
    bf16 = dtype is ComputeDtype.bf16 or (dtype is ComputeDtype.auto and on_cuda)
    return Placement(device=torch.device("cuda" if on_cuda else "cpu"), dtype=torch.bfloat16 if bf16 else torch.float32)


def fingerprint(entry: EvaluatedModel) -> str:
    """Sixteen hexadecimal digits that change when a model's files do.

    Configuration, tokenizer and template count by their content, weights by name, size and time of change: reading
    a large model takes longer than a small evaluation of it.

    Raises:
        UserError: there is no such directory, or no weights in it.
    """
    folder = find_hf_folder(entry.path)
    weights = sorted(folder.glob(_WEIGHTS))
    if not weights:
        raise UserError(f"{folder}: no weights there ({_WEIGHTS}); export a checkpoint with `redone export-hf`")
    digest = hashlib.sha256()
    for name in HF_FILES:
        if (folder / name).is_file():
            digest.update(name.encode() + (folder / name).read_bytes())
    if entry.chat_template is not None:
        digest.update(_template(entry.chat_template).encode())
    for path in weights:
        stat = path.stat()
        digest.update(f"{path.name} {stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def load_model(entry: EvaluatedModel, place: Placement) -> LoadedModel:
    """Loads a directory; code that comes with a model is never run.

    Raises:
        UserError: transformers is missing, or cannot load the directory.
    """
    folder = find_hf_folder(entry.path)
    model, tokenizer = _load(folder, place)
    if entry.chat_template is not None:
        tokenizer.chat_template = _template(entry.chat_template)
    states, head = _split_head(model, place.device)
    end_ids = _end_ids(model, tokenizer)
    # What a model's own settings ask for (sampling, penalties) would fill the gaps of ours.
    model.generation_config = type(model.generation_config)()
    texts = Tokenizer(TokenizerConfig(path=str(folder)), fast=False)
    return LoadedModel(
        label=entry.label,
        model=model,
        tokenizer=tokenizer,
        states=states,
        head=head,
        texts=texts,
        document_start=_document_start(texts),
        end_ids=end_ids,
        limit=getattr(model.config, "max_position_embeddings", None) or 1 << 30,
        device=place.device,
    )


def _load(folder: Path, place: Placement) -> tuple[Any, Any]:
    try:
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging as their_logging
    except ImportError:
        raise UserError(
            "evaluation runs on transformers, which is not installed: `pip install 'megatron_redone[evaluation]'`"
        ) from None
    their_logging.disable_progress_bar()
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=place.dtype, use_safetensors=True, **options
        )
        tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), **options)
    except Exception as error:  # its own, of many kinds, and those of safetensors and tokenizers
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{folder}: transformers cannot load it ({reason})") from None
    return model.eval().to(place.device), tokenizer


def _split_head(model: Any, device: torch.device) -> tuple[Callable[..., torch.Tensor], Callable[..., torch.Tensor]]:
    """The model as two functions, so that logits exist for a few tokens at a time only.

    A model that does more to its logits than one matrix product (soft-capping, scaling) is one function, and its
    head does nothing.
    """

    def hidden(tokens: torch.Tensor) -> torch.Tensor:
        return model.get_decoder()(tokens, use_cache=False).last_hidden_state

    def logits(tokens: torch.Tensor) -> torch.Tensor:
        return model(tokens, use_cache=False).logits

    head = model.get_output_embeddings()
    probe = torch.arange(1, 9, device=device)[None]
    with torch.inference_mode():
        if torch.allclose(head(hidden(probe)).float(), logits(probe).float(), rtol=1e-3, atol=1e-3):
            return hidden, head
    return logits, torch.nn.Identity()


def _document_start(tokenizer: Tokenizer) -> int:
    if tokenizer.prefix:
        return tokenizer.prefix[-1]
    if tokenizer.eod_id is None:
        raise UserError(f"{tokenizer.path}: its tokenizer has no token that begins or ends a document")
    return tokenizer.eod_id


def _end_ids(model: Any, tokenizer: Any) -> list[int]:
    """The model's own, and the one that ends a turn."""
    own = model.generation_config.eos_token_id
    ids: Sequence[int | None] = own if isinstance(own, list) else [own]
    return sorted({number for number in [*ids, tokenizer.eos_token_id] if number is not None})


def _template(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"chat_template: {file} cannot be read ({error.strerror})") from None
