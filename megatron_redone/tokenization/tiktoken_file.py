"""Tiktoken rank files: base64 token and rank on each line, and nothing else.

The split pattern, the normalisation and the special tokens are not in the file; they are given by
the name of a known encoding. Sources: tiktoken's openai_public.py (r50k, cl100k, o200k), Qwen's
tokenization_qwen.py (qwen2), llama-models' tokenizer.py (llama3).
"""

import base64
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import gigatoken

from megatron_redone.config.tokenizer import TiktokenPattern
from megatron_redone.errors import UserError
from megatron_redone.tokenization.fast import BatchEncoder

if TYPE_CHECKING:
    import awkward as ak

_CL100K = (
    r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|"""
    r"""\s++$|\s*[\r\n]|\s+(?!\S)|\s"""
)
_O200K = "|".join(
    [
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class _Encoding:
    pattern: str
    special_tokens: dict[str, int]
    fast_name: str  # gigatoken's name of the pattern
    nfc: bool = False


_ENCODINGS = {
    TiktokenPattern.r50k: _Encoding(
        r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s""",
        {"<|endoftext|>": 50256},
        "r50k",
    ),
    TiktokenPattern.cl100k: _Encoding(_CL100K, {"<|endoftext|>": 100257}, "cl100k"),
    TiktokenPattern.o200k: _Encoding(_O200K, {"<|endoftext|>": 199999}, "o200k"),
    TiktokenPattern.qwen2: _Encoding(
        _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}"),
        {"<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645},
        "qwen2",
        nfc=True,
    ),
    TiktokenPattern.llama3: _Encoding(_LLAMA3, {"<|begin_of_text|>": 128000, "<|end_of_text|>": 128001}, "cl100k"),
}


class TiktokenReference:
    """Encodes with the `tiktoken` library. See `Reference` for the attributes."""

    def __init__(self, file: Path, pattern: TiktokenPattern | None, parse_special_tokens: bool) -> None:
        """Loads a rank file.

        Raises:
            UserError: tiktoken is not installed, the pattern is not known, or the file is damaged.
        """
        try:
            import tiktoken
        except ImportError:
            raise UserError(f"{file}: reading it needs `pip install 'megatron_redone[tokenizers]'`") from None
        encoding = _ENCODINGS[pattern or _pattern_by_name(file)]
        try:
            ranks = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, file.open("rb"))}
        except ValueError as error:
            raise UserError(f"{file}: not a tiktoken rank file ({error})") from None
        clash = [token for token, number in encoding.special_tokens.items() if number < len(ranks)]
        if clash:
            raise UserError(f"{file}: its {len(ranks):,} ranks do not fit the pattern; set tokenizer.tiktoken_pattern")
        self.prefix: list[int] = []
        self.suffix: list[int] = []
        self.special_tokens = encoding.special_tokens
        self._file, self._fast_name, self._nfc = file, encoding.fast_name, encoding.nfc
        self._allowed: set[str] = set(self.special_tokens) if parse_special_tokens else set()
        self._encoding = tiktoken.Encoding(
            file.name, pat_str=encoding.pattern, mergeable_ranks=ranks, special_tokens=self.special_tokens
        )
        self.vocab_size = self._encoding.max_token_value + 1

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of every text."""
        if self._nfc:
            texts = _nfc(texts)
        return [self._encoding.encode(text, allowed_special=self._allowed, disallowed_special=()) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens written out."""
        return self._encoding.decode([int(i) for i in ids])

    def token_id(self, token: str) -> int | None:
        """The id of a token, or None."""
        try:
            return self._encoding.encode_single_token(token)
        except KeyError:
            return None

    def fast_loader(self) -> Callable[[], BatchEncoder]:
        """gigatoken on the ranks; without special tokens where these are to be read as plain text."""
        special = {token: self.special_tokens[token] for token in self._allowed}
        load = partial(gigatoken.Tokenizer.from_tiktoken, self._file, self._fast_name, special)
        return (lambda: _NfcTokenizer(load())) if self._nfc else load


class _NfcTokenizer:
    """gigatoken behind the normalisation that Qwen's own code does before tiktoken sees a text."""

    def __init__(self, tokenizer: gigatoken.Tokenizer) -> None:
        self._tokenizer = tokenizer

    def encode_batch(self, texts: list[str], *, parallel: bool) -> "ak.Array":
        return self._tokenizer.encode_batch(_nfc(texts), parallel=parallel)


def _nfc(texts: Sequence[str]) -> list[str]:
    return [unicodedata.normalize("NFC", text) for text in texts]


def is_rank_file(file: Path) -> bool:
    """Whether a file holds tiktoken ranks, told by its first line (Llama 3 names its own tokenizer.model)."""
    with file.open("rb") as stream:
        words = stream.readline(1000).split()
    if len(words) != 2 or not words[1].isdigit():
        return False
    try:
        return bool(base64.b64decode(words[0], validate=True))
    except ValueError:
        return False


def _pattern_by_name(file: Path) -> TiktokenPattern:
    known = {"qwen": "qwen2", "r50k": "r50k", "cl100k": "cl100k", "o200k": "o200k", "llama": "llama3"}
    for word, pattern in known.items():
        if word in file.name.lower():
            return TiktokenPattern[pattern]
    choices = "|".join(TiktokenPattern.__members__)
    raise UserError(f"{file}: a rank file does not tell how to split text; set tokenizer.tiktoken_pattern={choices}")
