"""PREFIX.manifest.json: what a dataset was made from, and what it holds.

Three kinds of dataset have one: tokens (this module), conversations and preferences (the modules of
those names). `tokenizer` stands in all of them under the same keys.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from megatron_redone.errors import DamageError, UserError
from megatron_redone.formats.block_checksums import SUFFIX, BlockChecksums, checksums_path
from megatron_redone.formats.done_check import Finished, is_sealed, read_sealed, write_sealed
from megatron_redone.formats.file_record import FileRecord, damage
from megatron_redone.formats.inputs import InputFile

TOKENS = "megatron_redone.tokens/1"
CONVERSATIONS = "megatron_redone.conversations/1"
# With loss weights, of which versions that know only the other format would learn in full.
WEIGHTED_CONVERSATIONS = "megatron_redone.conversations/2"
PREFERENCES = "megatron_redone.preferences/1"
_FORMATS = (TOKENS, CONVERSATIONS, WEIGHTED_CONVERSATIONS, PREFERENCES)


@dataclass(frozen=True)
class TokenizerRecord:
    """The tokenizer of a dataset, enough to refuse a model with another one."""

    path: str
    fingerprint: str
    vocab_size: int
    eod_id: int | None


@dataclass(frozen=True, kw_only=True)
class ChatTemplateRecord:
    """The chat template of a dataset, enough to render its records again.

    Attributes:
        text: In Jinja.
        with_tools: The text for records with tools, where it is another.
        variables: What the template read besides: `template_variables` of the configuration.
        special_tokens: `bos_token` and the like of the tokenizer, which a template reads under these names.
    """

    text: str
    with_tools: str | None = None
    variables: dict[str, Any] = field(default_factory=dict)
    special_tokens: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Counts:
    """What became of the records."""

    records: int
    documents: int
    tokens: int
    invalid: int
    invalid_by_reason: dict[str, int]


@dataclass(frozen=True)
class Manifest:
    """The whole manifest of a dataset of tokens.

    Attributes:
        work: Hash of everything that decides the dataset's bytes: inputs, tokenizer, settings.
        config: The resolved configuration, for people.
        config_hash: Its hash.
        encoded_by: How many units of work each library encoded.
        version: Of this package.
        checksums: The files with the checksums of .bin and .idx, by what follows `PREFIX.`.
        reports: Files beside the dataset for people to read, by what follows `PREFIX.`: the list of invalid records.
    """

    work: str
    config: dict[str, Any]
    config_hash: str
    inputs: list[InputFile]
    tokenizer: TokenizerRecord
    dtype: str
    counts: Counts
    bin: FileRecord
    idx: FileRecord
    encoded_by: dict[str, int]
    version: str
    checksums: dict[str, FileRecord] = field(default_factory=dict)
    reports: dict[str, FileRecord] = field(default_factory=dict)


def manifest_path(prefix: str | os.PathLike[str]) -> Path:
    """Where the manifest of a dataset lies."""
    return Path(f"{os.fspath(prefix)}.manifest.json")


def write_manifest(prefix: str | os.PathLike[str], manifest: Any, format: str = TOKENS) -> None:
    """Writes a manifest, a dataclass; its presence says that the dataset is complete."""
    write_sealed(manifest_path(prefix), {"format": format, **dataclasses.asdict(manifest)})


def read_manifest(prefix: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The manifest's content, or None for a dataset that has none (one from Megatron-LM).

    Raises:
        UserError: the file is there but is not a manifest.
    """
    path = manifest_path(prefix)
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not readable as JSON ({error}); write the dataset again") from None
    if not isinstance(content, dict) or content.get("format") not in _FORMATS:
        raise UserError(f"{path}: not a manifest of this version ({', '.join(_FORMATS)}); write the dataset again")
    if not is_sealed(content):
        raise DamageError(f"{path}: damaged, or changed by hand; copy it again, or write the dataset again")
    _rename_old_counts(content)
    return content


def _rename_old_counts(manifest: dict[str, Any]) -> None:
    """Earlier versions called invalid records rejected."""
    counts = manifest.get("counts", {})
    for old, new in (("rejected", "invalid"), ("rejected_by_reason", "invalid_by_reason")):
        if old in counts:
            counts[new] = counts.pop(old)


def file_records(manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The size and SHA-256 of each file of a dataset, by what follows `PREFIX.` in its name."""
    if "files" in manifest:
        return manifest["files"]
    return {kind: manifest[kind] for kind in ("bin", "idx") if kind in manifest}


def fingerprint(manifest: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits that change when a byte of any file of the dataset does."""
    lines = (f"{suffix} {record['sha256']}" for suffix, record in sorted(file_records(manifest).items()))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def check_files(prefix: str | os.PathLike[str], manifest: Mapping[str, Any], remedy: str) -> None:
    """Compares the files of a dataset with its manifest, in milliseconds.

    All must be there and of their size. Small ones are read whole; of .bin and .idx the checksums beside them must be
    those of the files that the manifest names, and each part of them is compared when it is read.

    Args:
        prefix: The dataset's path without suffix.
        manifest: Its content.
        remedy: What to do where a file is damaged, for the message.

    Raises:
        DamageError: naming the file.
    """
    checksums = manifest.get("checksums", {})
    for suffix, record in {**checksums, **file_records(manifest)}.items():
        path = Path(f"{prefix}.{suffix}")
        found = path.stat().st_size if path.is_file() else None
        if found != record["size"]:
            state = "is missing" if found is None else f"has {found:,} bytes, the manifest says {record['size']:,}"
            raise DamageError(f"{path}: {state}; copy it again, or {remedy}")
        if f"{suffix}{SUFFIX}" in checksums:
            if BlockChecksums(path).sha256 != record["sha256"]:
                raise DamageError(f"{checksums_path(path)}: of another dataset; copy it again, or {remedy}")
        elif suffix.endswith(".npy") and damage({path: record}, whole=True):
            raise DamageError(f"{path}: damaged (its content is not what was written); copy it again, or {remedy}")


def finished_dataset(prefix: str | os.PathLike[str]) -> Finished | None:
    """What the manifest of a dataset says of it, or None where there is none that can be read."""
    path = manifest_path(prefix)
    if not path.exists():
        return None
    content, is_intact = read_sealed(path)
    if content is None or not is_intact or content.get("format") not in _FORMATS:
        return Finished((content or {}).get("work"), {}, path, is_intact=False)
    records = {**file_records(content), **content.get("checksums", {}), **content.get("reports", {})}
    return Finished(
        content.get("work"), {Path(f"{prefix}.{suffix}"): record for suffix, record in records.items()}, path
    )
