"""SentencePiece .model files (BPE or Unigram)."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import gigatoken

from megatron_redone.errors import UserError
from megatron_redone.tokenization.fast import BatchEncoder


class SentencePieceReference:
    """Encodes with the `sentencepiece` library. See `Reference` for the attributes."""

    def __init__(self, file: Path, parse_special_tokens: bool) -> None:
        """Loads a .model file.

        Raises:
            UserError: sentencepiece is not installed, the file is not its own, or special tokens were to be
                parsed, which SentencePiece never does.
        """
        try:
            from sentencepiece import SentencePieceProcessor
        except ImportError:
            raise UserError(f"{file}: reading it needs `pip install 'megatron_redone[tokenizers]'`") from None
        if parse_special_tokens:
            raise UserError("tokenizer.parse_special_tokens: SentencePiece does not parse them; set it to false")
        self._file = file
        self.prefix: list[int] = []
        self.suffix: list[int] = []
        self._processor = SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(file.read_bytes())
        except RuntimeError as error:
            raise UserError(f"{file}: not a SentencePiece model ({error})") from None
        self.vocab_size = self._processor.vocab_size()
        ids = range(self.vocab_size)
        self.special_tokens = {self._processor.IdToPiece(i): i for i in ids if self._processor.IsControl(i)}

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of every text."""
        return self._processor.Encode(list(texts), num_threads=1)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; control symbols have none."""
        return self._processor.Decode([int(i) for i in ids])

    def token_id(self, token: str) -> int | None:
        """The id of a piece, or None."""
        number = self._processor.PieceToId(token)
        return number if self._processor.IdToPiece(number) == token else None

    def fast_loader(self) -> Callable[[], BatchEncoder] | None:
        """gigatoken on the model without its control symbols, where it is a kind that gigatoken knows."""
        # Private, but the public loader keeps control symbols, which SentencePiece never finds in a text.
        from gigatoken._load.sentencepiece import sentencepiece_to_tokenizer_json

        try:
            content = json.loads(sentencepiece_to_tokenizer_json(self._file.read_bytes()))
        except Exception:  # a Unigram model, or one without byte fallback
            return None
        content["added_tokens"] = [t for t in content.get("added_tokens", []) if not t["special"]]
        return partial(gigatoken.Tokenizer.from_json, json.dumps(content, ensure_ascii=False))
