"""Hugging Face tokenizers: a directory with a tokenizer.json, or that file."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gigatoken
import orjson
import tokenizers

from megatron_redone.architectures.json_object import read_json_object
from megatron_redone.errors import UserError
from megatron_redone.tokenization.fast import BatchEncoder


class HuggingFaceReference:
    """Encodes with the `tokenizers` library. See `Reference` for the attributes."""

    def __init__(self, file: Path, parse_special_tokens: bool) -> None:
        """Loads a tokenizer.json.

        Raises:
            UserError: the file is no tokenizer.json.
        """
        try:
            data = file.read_bytes()
            self._content: dict[str, Any] = orjson.loads(data)
            self._tokenizer = tokenizers.Tokenizer.from_buffer(data)
        except Exception as error:  # the Rust side raises plain Exception
            raise UserError(f"{file}: not a tokenizer.json that tokenizers can read ({error})") from None
        self._parse_special_tokens = parse_special_tokens
        # A file saved after training may still cut or pad: a corpus must not be.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        added = self._content.get("added_tokens", [])
        self.special_tokens = {t["content"]: t["id"] for t in added if t["special"]}
        self.vocab_size = 1 + max([self._largest_model_id(), *(t["id"] for t in added)])
        self.prefix, self.suffix = self._template()
        # With this the text "<|im_end|>" is five ordinary tokens, not the end of a turn.
        self._tokenizer.encode_special_tokens = not parse_special_tokens

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of every text, without the template's tokens."""
        return [e.ids for e in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens written out."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)

    def token_id(self, token: str) -> int | None:
        """The id of a token, or None."""
        return self._tokenizer.token_to_id(token)

    def fast_loader(self) -> Callable[[], BatchEncoder] | None:
        """gigatoken on the file; without its special tokens where these are to be read as plain text."""
        if self._content["model"].get("type") != "BPE":
            return None
        content = dict(self._content, truncation=None, padding=None)
        if not self._parse_special_tokens:
            content["added_tokens"] = [t for t in content.get("added_tokens", []) if not t["special"]]
        return partial(gigatoken.Tokenizer.from_json, orjson.dumps(content))

    def _largest_model_id(self) -> int:
        vocab = self._content["model"]["vocab"]
        return max(vocab.values()) if isinstance(vocab, dict) else len(vocab) - 1  # Unigram keeps a list

    def _template(self) -> tuple[list[int], list[int]]:
        """What the post-processor puts around a document, seen on a text of one letter."""
        bare = self._tokenizer.encode("a", add_special_tokens=False).ids
        full = self._tokenizer.encode("a", add_special_tokens=True).ids
        for start in range(len(full) - len(bare) + 1):
            if full[start : start + len(bare)] == bare:
                return full[:start], full[start + len(bare) :]
        raise UserError("the tokenizer's post-processor changes the ids of a text; this is not supported")


def eos_token(folder: Path) -> str | None:
    """The `eos_token` of a directory's tokenizer_config.json, or None where it names none.

    Raises:
        UserError: the file is no JSON object.
    """
    file = folder / "tokenizer_config.json"
    if not file.is_file():
        return None
    token = read_json_object(file).get("eos_token")
    return token.get("content") if isinstance(token, dict) else token
