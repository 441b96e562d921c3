"""One tokenizer class over Hugging Face directories, SentencePiece models and tiktoken files."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from megatron_redone.config.tokenizer import TokenizerConfig
from megatron_redone.errors import UserError
from megatron_redone.formats.hf_folder import read_hf_checksums
from megatron_redone.tokenization.fast import FastEncoder
from megatron_redone.tokenization.huggingface import HuggingFaceReference, eos_token
from megatron_redone.tokenization.probe import probe_texts
from megatron_redone.tokenization.reference import Reference
from megatron_redone.tokenization.sentencepiece_model import SentencePieceReference
from megatron_redone.tokenization.tiktoken_file import TiktokenReference, is_rank_file

# What ends a document in pretraining: Qwen, GPT, SmolLM2 and OLMo, then Llama 3, then DeepSeek. A chat
# model's own eos_token (<|im_end|>) ends a turn and is only taken where none of these is known.
_EOD_TOKENS = ("<|endoftext|>", "<|end_of_text|>", "<｜end▁of▁sentence｜>")

# One text in so many is encoded by the reference too, while a corpus is being encoded.
CHECK_EVERY = 512
_CHECK_CHARACTERS = 20_000


class FastPathDisagreement(Exception):
    """The fast path gave other ids than the reference; its text says on what."""


@dataclass(frozen=True)
class Encoded:
    """Token ids of several texts.

    Attributes:
        ids: `uint32[T]`, all texts one after the other.
        lengths: `int64[N]`, ids of each text.
    """

    ids: np.ndarray
    lengths: np.ndarray


class Tokenizer:
    """Text to ids and back, with the ids that the format's own library gives.

    Attributes:
        vocab_size: One more than the largest id, added tokens included.
        eod_id: The token that ends a document, or None where the vocabulary has none.
        prefix: Ids that stand before a document (BOS), for those who frame documents.
        suffix: Ids that stand after one.
        slow_because: Why the fast path is not taken, or None where it is.
    """

    def __init__(self, config: TokenizerConfig, fast: bool = True) -> None:
        """Loads a tokenizer.

        Args:
            config: Which one, and how it treats special tokens.
            fast: False leaves the fast path out, for the few texts of a check or a prompt.

        Raises:
            UserError: nothing usable is at the path, or the end-of-document token is not in the vocabulary.
        """
        path = Path(config.path)
        read_hf_checksums(path if path.is_dir() else path.parent).check_small_files()
        self._reference = _load_reference(config)
        self.path = config.path
        self.vocab_size = self._reference.vocab_size
        self.eod_id = self._find_eod(config)
        self.prefix = self._reference.prefix if config.add_special_tokens else []
        self.suffix = self._reference.suffix if config.add_special_tokens else []
        self.slow_because: str | None = "switched off"
        self._fast = self._load_fast() if fast and config.fast else None

    def encode(self, text: str) -> list[int]:
        """The ids of one text, without the tokens that stand around a document."""
        return self._reference.encode_batch([text])[0]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens written out."""
        return self._reference.decode(ids)

    def token_id(self, token: str) -> int | None:
        """The id of a token, or None where the vocabulary has no such token."""
        return self._reference.token_id(token)

    def encode_batch(self, texts: Sequence[str], fast: bool = True) -> Encoded:
        """The ids of many texts, without the tokens that stand around a document.

        Raises:
            FastPathDisagreement: a text of the checked sample got other ids than from the reference. What was
                encoded before it can't be trusted: begin again with `fast=False`.
        """
        if self._fast is None or not fast or not texts:
            return _flatten(self._reference.encode_batch(texts))
        encoded = Encoded(*self._fast.encode_batch(texts))
        self._check_sample(texts, encoded)
        return encoded

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that two tokenizers share if they give the same ids.

        Taken over what the tokenizer does (ids of probe texts, special tokens, vocabulary size) rather than
        over its files, which differ in layout from one library version to the next.
        """
        special = dict(sorted(self._reference.special_tokens.items()))
        behaviour = [self.vocab_size, special, self._reference.encode_batch(probe_texts([]))]
        return hashlib.sha256(json.dumps(behaviour).encode()).hexdigest()[:16]

    def _find_eod(self, config: TokenizerConfig) -> int | None:
        if config.eod_token is not None:
            found = self.token_id(config.eod_token)
            if found is None:
                raise UserError(f"tokenizer.eod_token: {config.eod_token!r} is not in the vocabulary of {config.path}")
            return found
        folder = Path(config.path)
        own = eos_token(folder if folder.is_dir() else folder.parent)
        for token in (*_EOD_TOKENS, own, "</s>"):
            if token is not None and (found := self.token_id(token)) is not None:
                return found
        return None

    def _load_fast(self) -> FastEncoder | None:
        """The fast path if it agrees with the reference on every probe text, else None and the reason."""
        load = self._reference.fast_loader()
        if load is None:
            self.slow_because = "gigatoken does not know this kind of tokenizer"
            return None
        try:
            fast = FastEncoder(load)
            texts = probe_texts(list(self._reference.special_tokens))
            _compare(texts, self._reference.encode_batch(texts), Encoded(*fast.encode_batch(texts)), range(len(texts)))
        except Exception as error:  # gigatoken's own, of any kind, or a disagreement
            self.slow_because = f"gigatoken: {' '.join(str(error).split())}"  # its own go over several lines
            return None
        self.slow_because = None
        return fast

    def _check_sample(self, texts: Sequence[str], encoded: Encoded) -> None:
        chosen = [i for i in range(0, len(texts), CHECK_EVERY) if len(texts[i]) <= _CHECK_CHARACTERS]
        _compare(texts, self._reference.encode_batch([texts[i] for i in chosen]), encoded, chosen)


def _load_reference(config: TokenizerConfig) -> Reference:
    path = Path(config.path)
    if path.is_dir():
        for name in ("tokenizer.json", "tokenizer.model"):
            if (path / name).is_file():
                return _load_file(path / name, config)
        raise UserError(
            f"{path}: no tokenizer.json there; write one with transformers: "
            "AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)"
        )
    if not path.is_file():
        raise UserError(f"{path}: no such tokenizer; give a Hugging Face directory, a .model or a .tiktoken file")
    return _load_file(path, config)


def _load_file(file: Path, config: TokenizerConfig) -> Reference:
    if file.suffix == ".json":
        return HuggingFaceReference(file, config.parse_special_tokens)
    if is_rank_file(file):
        return TiktokenReference(file, config.tiktoken_pattern, config.parse_special_tokens)
    return SentencePieceReference(file, config.parse_special_tokens)


def _flatten(rows: list[list[int]]) -> Encoded:
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    return Encoded(np.fromiter(chain.from_iterable(rows), np.uint32, int(lengths.sum())), lengths)


def _compare(texts: Sequence[str], expected: list[list[int]], encoded: Encoded, chosen: Sequence[int]) -> None:
    """Raises FastPathDisagreement on the first of the chosen texts whose ids are not the expected ones."""
    ends = np.cumsum(encoded.lengths)
    for number, ids in zip(chosen, expected, strict=True):
        start = int(ends[number] - encoded.lengths[number])
        if encoded.ids[start : int(ends[number])].tolist() != ids:
            raise FastPathDisagreement(f"its ids differ on {texts[number][:60]!r}")
