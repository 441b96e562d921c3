"""A Hugging Face directory as transformers loads it, without running its code, and what identifies it."""

import hashlib
from pathlib import Path
from typing import Any

from megatron_redone.errors import UserError
from megatron_redone.formats.hf_folder import find_hf_folder, hf_files, read_hf_checksums
from megatron_redone.formats.weights_fingerprint import weights_fingerprint
from megatron_redone.generation.placement import Placement
from megatron_redone.model_folders import check_model_folder

_LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


def model_fingerprint(path: str, chat_template: str | None = None) -> str:
    """Sixteen hexadecimal digits that change when a model's files do.

    Configuration, tokenizer and template count by their content, weights as in `weights_fingerprint`.

    Args:
        path: A directory, or a name on the hub.
        chat_template: A Jinja file that is used instead of the model's own template.

    Raises:
        UserError: there is no such directory or template, no weights in the directory, or files that contradict each
            other.
    """
    folder = find_hf_folder(path)
    check_model_folder(folder)
    return folder_fingerprint(folder, folder, chat_template)


def folder_fingerprint(weights: Path, folder: Path, chat_template: str | None = None) -> str:
    """The same of weights and of the folder with configuration and tokenizer, which a checkpoint keeps apart.

    Raises:
        UserError: there are no weights, or no such template.
    """
    digest = hashlib.sha256(weights_fingerprint(weights).encode())
    for name in hf_files(folder):
        digest.update(name.encode() + (folder / name).read_bytes())
    if chat_template is not None:
        digest.update(_read_template(chat_template).encode())
    return digest.hexdigest()[:16]


def load_tokenizer(folder: Path, chat_template: str | None = None) -> Any:
    """transformers' own tokenizer, with the template of a file where one is given.

    Raises:
        UserError: transformers is missing or cannot load it, or the file cannot be read.
    """
    read_hf_checksums(folder).check_small_files()
    tokenizer = _load("AutoTokenizer", folder)
    if chat_template is not None:
        tokenizer.chat_template = _read_template(chat_template)
    return tokenizer


def load_generation_settings(folder: Path) -> Any:
    """transformers' GenerationConfig of a folder: what its generation_config.json says, else its config.json.

    Raises:
        UserError: transformers is missing or cannot read it.
    """
    if (folder / "generation_config.json").is_file():
        return _load("GenerationConfig", folder)
    import transformers

    return transformers.GenerationConfig.from_model_config(_load("AutoConfig", folder))


def load_causal_lm(folder: Path, place: Placement, **options: Any) -> Any:
    """transformers' own model, from safetensors, in evaluation mode.

    Args:
        folder: The directory.
        place: Where to, and in which type.
        options: Further ones of transformers' `from_pretrained`.

    Raises:
        UserError: transformers is missing, or cannot load it, or its files contradict each other.
    """
    check_model_folder(folder)
    model = _load("AutoModelForCausalLM", folder, dtype=place.dtype, use_safetensors=True, **options)
    _refuse_unknown_ids(model, folder)
    return model.eval().to(place.device)


def _refuse_unknown_ids(model: Any, folder: Path) -> None:
    """A tokenizer may know more than the model; torch answers with an index error, CUDA with a dead process."""
    embedding = model.get_input_embeddings()

    def check(_: Any, inputs: tuple[Any, ...]) -> None:
        largest = int(inputs[0].max()) if inputs and inputs[0].numel() else -1
        if largest >= embedding.weight.shape[0]:
            raise UserError(
                f"{folder}: its tokenizer gives the id {largest}, its embedding has {embedding.weight.shape[0]} rows; "
                "take the tokenizer that the model was trained with"
            )

    embedding.register_forward_pre_hook(check)


def _load(factory: str, folder: Path, **options: Any) -> Any:
    try:
        import transformers
        from transformers.utils import logging as their_logging
    except ImportError:
        raise UserError("transformers is not installed: `pip install 'megatron_redone[evaluation]'`") from None
    their_logging.disable_progress_bar()
    try:
        trust = {} if factory == "GenerationConfig" else _LOCAL
        return getattr(transformers, factory).from_pretrained(str(folder), **trust, **options)
    except Exception as error:  # its own, of many kinds, and those of safetensors and tokenizers
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{folder}: transformers cannot load it ({reason})") from None


def _read_template(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UserError(f"chat_template: {file} cannot be read ({reason})") from None
