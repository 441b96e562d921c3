"""Whether a dataset's token ids are ones that the model knows."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from megatron_redone.errors import UserError
from megatron_redone.formats.indexed import DatasetPaths
from megatron_redone.formats.manifest import manifest_path, read_manifest


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

        A dataset without a manifest came from another tool: its ids are checked as they are read.

        Raises:
            UserError: it was made with another tokenizer, or the manifest is damaged.
        """
        bare = DatasetPaths.of(prefix).bin.with_suffix("")
        path, tokenizer = manifest_path(bare), (read_manifest(bare) or {}).get("tokenizer")
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

    def check_ids(self, tokens: np.ndarray, where: Callable[[int], str]) -> None:
        """Refuses ids that the model does not have.

        Args:
            tokens: Integer ids `[T]`.
            where: Names the dataset and the token of an index into them.

        Raises:
            UserError: naming the first id that is negative or beyond the vocabulary.
        """
        # As an unsigned number a negative id is a huge one: one comparison finds both.
        unsigned = tokens.view(f"u{tokens.dtype.itemsize}")
        if not len(unsigned) or int(unsigned.max()) < self.size:
            return
        index = int(np.argmax(unsigned >= self.size))
        raise UserError(
            f"{where(index)} has id {tokens[index]:,}, but the model's vocabulary ends at {self.size - 1:,}; "
            "make the dataset with the model's tokenizer"
        )
