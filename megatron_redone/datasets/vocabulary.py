"""Whether a dataset's token ids are ones that the model knows."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from megatron_redone.errors import UserError
from megatron_redone.formats.indexed import DatasetPaths


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """What the model expects of the tokens it is fed.

    Attributes:
        size: Rows of the model's embedding, before any padding for tensor parallelism.
        fingerprint: That of the model's tokenizer, or None where it is not known.
    """

    size: int
    fingerprint: str | None = None

    def check_manifest(self, prefix: str) -> None:
        """Compares with PREFIX.manifest.json, which says what the dataset was tokenized with.

        A dataset without a manifest, or without the entries looked for, came from another tool: its
        ids are checked as they are read.
        """
        path = _manifest_path(prefix)
        tokenizer = _read_manifest(path).get("tokenizer")
        if not isinstance(tokenizer, dict):
            return
        found, size = tokenizer.get("fingerprint"), tokenizer.get("vocab_size")
        if self.fingerprint is not None and found is not None and found != self.fingerprint:
            raise UserError(
                f"{path}: the dataset was made with tokenizer {found}, the model's is {self.fingerprint}; "
                "tokenize the corpus with the model's tokenizer"
            )
        if isinstance(size, int) and size > self.size:
            raise UserError(
                f"{path}: the dataset's tokenizer has {size:,} ids, the model's vocabulary {self.size:,}; "
                "tokenize the corpus with the model's tokenizer"
            )

    def first_beyond(self, tokens: np.ndarray) -> int | None:
        """The place of the first id, in `[T]` integer ids, that is negative or beyond the vocabulary."""
        # As an unsigned number a negative id is a huge one: one comparison finds both.
        unsigned = tokens.view(f"u{tokens.dtype.itemsize}")
        if not len(unsigned) or int(unsigned.max()) < self.size:
            return None
        return int(np.argmax(unsigned >= self.size))


def _manifest_path(prefix: str) -> Path:
    return DatasetPaths.of(prefix).bin.with_suffix(".manifest.json")


def _read_manifest(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); write the dataset again, or remove the file") from None
    return content if isinstance(content, dict) else {}
