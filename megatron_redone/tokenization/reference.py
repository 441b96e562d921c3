"""What every tokenizer format offers: the ids of the library that defines them.

These are the ids that count. The fast path (`fast.py`) is only taken where it gives the same.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from megatron_redone.tokenization.fast import BatchEncoder


class Reference(Protocol):
    """The library that a tokenizer's format belongs to.

    Attributes:
        vocab_size: One more than the largest id, added tokens included.
        special_tokens: Tokens with a meaning of their own, and their ids.
        prefix: Ids that the tokenizer's own template puts before a document (BOS).
        suffix: Ids that it puts after one.
    """

    vocab_size: int
    special_tokens: dict[str, int]
    prefix: list[int]
    suffix: list[int]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of every text, without prefix and suffix."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens written out."""
        ...

    def token_id(self, token: str) -> int | None:
        """The id of a token, or None where the vocabulary has no such token."""
        ...

    def fast_loader(self) -> Callable[[], BatchEncoder] | None:
        """How to load the fast path that should give the same ids, or None where there is none."""
        ...
