"""Real text for benchmarks: the documents of a folder of public data sets, one kind of reader a format.

The folder holds `social_en`, `social_zh` and `general`, as described in its SOURCES.md.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_MIN_PARAGRAPH = 2


def documents(folder: Path, parts: Sequence[str] = ("social_en", "social_zh", "general")) -> Iterator[str]:
    """Every non-empty text of the folder's parts, in a fixed order: posts, comments, turns, paragraphs and pages."""
    for part in parts:
        for file in sorted((folder / part).rglob("*")):
            reader = _READERS.get(file.suffix)
            if file.is_file() and reader is not None:
                yield from (text for text in reader(file) if len(text.strip()) >= _MIN_PARAGRAPH)


def _lines(file: Path) -> Iterator[str]:
    yield from (line.rstrip("\n") for line in file.open(encoding="utf-8"))


def _first_column(file: Path) -> Iterator[str]:
    # The longest field of a row is its text; the others are ids, labels and scores.
    yield from (max(line.rstrip("\n").split("\t"), key=len) for line in file.open(encoding="utf-8"))


def _csv(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8", newline="") as stream:
        yield from (row["TEXT"] for row in csv.DictReader(stream))


def _conll(file: Path) -> Iterator[str]:
    """Sentences of one token a line, put together again."""
    words: list[str] = []
    for line in file.open(encoding="utf-8"):
        if line.strip():
            words.append(line.split()[0])
        elif words:
            yield " ".join(words)
            words = []
    yield " ".join(words)


def _jsonl(file: Path) -> Iterator[str]:
    for line in file.open(encoding="utf-8"):
        yield from _strings(json.loads(line))


def _json(file: Path) -> Iterator[str]:
    yield from _strings(json.loads(file.read_text(encoding="utf-8")))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for element in value:
            yield from _strings(element)
    elif isinstance(value, dict):
        yield from _strings(list(value.values()))


_READERS = {".txt": _lines, ".tsv": _first_column, ".csv": _csv, ".conll": _conll, ".jsonl": _jsonl, ".json": _json,
            ".yml": _lines}  # fmt: skip
