"""Documents in blocks, and what is known of each: its score, language and length, saved a block at a time.

A block that is saved is not scored again; blocks can be scored by several jobs, in any order.
"""

import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from megatron_redone.config.select_quality import DocumentsConfig
from megatron_redone.curation.fingerprint import form_hash
from megatron_redone.curation.languages import languages_of
from megatron_redone.curation.quality.classifier import Scorer
from megatron_redone.curation.scripts import weighted_length
from megatron_redone.errors import UserError
from megatron_redone.formats.atomic import atomic_file
from megatron_redone.formats.input_records import InvalidRecord, InvalidRecordError
from megatron_redone.formats.inputs import expand_inputs
from megatron_redone.formats.json_values import json_type
from megatron_redone.formats.raw_records import RawRecord, read_raw

Record = dict[str, Any]

# Of a score: more would differ with the batch that a text was in.
_DECIMALS = 4


@dataclass(frozen=True)
class Block:
    """Some consecutive records of a source."""

    number: int
    records: list[Record]
    invalid: list[InvalidRecord]

    @property
    def texts(self) -> list[str]:
        """Of the records."""
        return [record["text"] for record in self.records]


@dataclass(frozen=True)
class Facts:
    """What is known of documents.

    Attributes:
        scores: float64 [N].
        languages: str [N], codes.
        letters: int64 [N], weighted as in `scripts.weighted_length`.
        characters: int64 [N].
        draws: uint64 [N], by which a random cut is drawn and equal scores are told apart.
    """

    scores: np.ndarray
    languages: np.ndarray
    letters: np.ndarray
    characters: np.ndarray
    draws: np.ndarray

    @staticmethod
    def joined(parts: Sequence["Facts"]) -> "Facts":
        """Those of several blocks, in order."""
        return Facts(*(np.concatenate([getattr(part, name) for part in parts]) for name in _NAMES))


_NAMES = ("scores", "languages", "letters", "characters", "draws")


def read_blocks(source: DocumentsConfig, size: int) -> Iterator[Block]:
    """A source's documents, `size` records at a time."""
    number, records, invalid = 0, [], []
    for file in expand_inputs(source.input):
        for batch in read_raw(file):
            for raw in batch.records:
                try:
                    records.append(_document(raw))
                except InvalidRecordError as reason:
                    invalid.append(InvalidRecord.of(batch.file, raw.place, reason, raw.json))
                if len(records) + len(invalid) == size:
                    yield Block(number, records, invalid)
                    number, records, invalid = number + 1, [], []
    if records or invalid:
        yield Block(number, records, invalid)


def _document(raw: RawRecord) -> Record:
    record = raw.parse()
    text = record.get("text")
    if not isinstance(text, str):
        raise InvalidRecordError("no key 'text'" if text is None else f"'text' is a {json_type(text)}, not a string")
    if not text.strip():
        raise InvalidRecordError("empty text")
    return record


def score_blocks(
    source: DocumentsConfig,
    size: int,
    seed: int,
    scorer: Callable[[], Scorer],
    folder: Path,
    is_mine: Callable[[int], bool],
) -> Iterator[int]:
    """Scores what is not saved yet, and yields how many documents each block has that was scored.

    Args:
        source: The documents.
        size: Of a block.
        seed: Of the draws.
        scorer: Makes the scorer, when it is first needed.
        folder: Where blocks are saved.
        is_mine: Whether a block, by its number, is to be scored here.

    Raises:
        UserError: a score is no number.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for block in read_blocks(source, size):
        path = folder / f"{block.number:06d}.npz"
        if is_mine(block.number) and _load(path) is None:
            facts = _facts(block, scorer() if block.records else None, seed)
            with atomic_file(path, "wb") as file:
                np.savez(file, **{name: getattr(facts, name) for name in _NAMES})
            yield len(block.records)


def saved_facts(folder: Path) -> Facts:
    """What was saved of a source, all blocks, which `score_blocks` has gone over before.

    Raises:
        UserError: one of them is damaged.
    """
    parts = []
    for path in sorted(folder.glob("*.npz")):
        if (facts := _load(path)) is None:
            raise UserError(f"{path} is damaged; remove it and run again")
        parts.append(facts)
    if not parts:
        raise UserError(f"source '{folder.name}': the input is empty")
    return Facts.joined(parts)


def _load(path: Path) -> Facts | None:
    """What a file holds, None where it is not there or not whole."""
    try:
        with np.load(path) as arrays:
            return Facts(*(arrays[name] for name in _NAMES))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _facts(block: Block, scorer: Scorer | None, seed: int) -> Facts:
    texts = block.texts
    scores = np.round(scorer(texts), _DECIMALS) if scorer is not None else np.empty(0)
    if not np.isfinite(scores).all():
        raise UserError("the scorer gives scores that are no numbers; is the model damaged, or its type too narrow?")
    return Facts(
        scores=scores,
        languages=np.array([record.get("language") or _language(record["text"]) for record in block.records], np.str_),
        letters=np.array([weighted_length(text) for text in texts], np.int64),
        characters=np.array([len(text) for text in texts], np.int64),
        draws=np.array([form_hash(text, seed) for text in texts], np.uint64),
    )


def _language(text: str) -> str:
    return "+".join(languages_of(text))
