"""Directories by their name on the Hugging Face hub, where the network allows it."""

import re
from pathlib import Path

from megatron_redone.errors import UserError
from megatron_redone.formats.folder_checksums import (
    FileBlocks,
    FolderChecksums,
    read_folder_checksums,
    write_folder_checksums,
)

# Files of a Hugging Face directory that transformers reads and that are neither weights nor adapters nor code.
HF_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "audio_tokenizer_config.json",
    "tekken.json",
    "tiktoken.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.txt",
)
# Looked for only to refuse a folder that has one beside a model's weights.
ADAPTER_CONFIG = "adapter_config.json"
ADDITIONAL_TEMPLATES = "additional_chat_templates"

CHECKSUMS = "checksums.json"
_REMEDY = "export it again; if the change is yours, remove its checksums.json"

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def hf_files(folder: Path) -> list[str]:
    """Those of `HF_FILES` that a folder has, and its named chat templates: names within the folder."""
    templates = sorted(file.name for file in (folder / ADDITIONAL_TEMPLATES).glob("*.jinja") if file.is_file())
    own = [name for name in HF_FILES if (folder / name).is_file()]
    return [*own, *(f"{ADDITIONAL_TEMPLATES}/{name}" for name in templates)]


def write_hf_checksums(folder: Path, known: FileBlocks) -> None:
    """Writes the checksums of all files of a model folder; see `write_folder_checksums`."""
    write_folder_checksums(folder, Path(CHECKSUMS), known)


def read_hf_checksums(folder: Path) -> FolderChecksums:
    """The checksums of a model folder; none where another program, or an earlier version, has written it.

    Raises:
        DamageError: they are damaged.
    """
    if not (folder / CHECKSUMS).exists():
        return FolderChecksums(folder, {}, _REMEDY)
    return read_folder_checksums(folder, Path(CHECKSUMS), _REMEDY)


def find_hf_folder(name: str) -> Path:
    """A local directory, or the download of a hub name: configuration, tokenizer and safetensors only.

    Raises:
        UserError: there is no such directory, and the hub does not give it either.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
    if not _HUB_NAME.fullmatch(name):
        raise UserError(f"{name}: no such directory")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise UserError(f"{name}: no such directory; to take it from the hub, `pip install huggingface_hub`") from None
    wanted = [*HF_FILES, ADAPTER_CONFIG, f"{ADDITIONAL_TEMPLATES}/*.jinja", "*.safetensors", "*.safetensors.index.json"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except Exception as error:  # the library's own, those of its HTTP client, and those of the disk
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{name}: no such directory, and the Hugging Face hub did not give it ({reason})") from None
