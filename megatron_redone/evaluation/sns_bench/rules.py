"""Rules that answer without a model: what a score must beat before it says anything about one."""

from collections.abc import Mapping
from typing import Any

_YES_NO = {"always Yes": "Yes", "always No": "No"}
_EMPTY_LIST = {"always []": "[]"}


def rules_of(subset: str, record: Mapping[str, Any]) -> dict[str, str]:
    """What each rule answers to a record, by the rule's name."""
    if subset == "Taxonomy-multiple":
        levels = ("candidates_primary", "candidates_secondary", "candidates_tertiary")
        return {"first candidates": " | ".join(_first(record[level]) for level in levels)}
    if subset in ("Taxonomy-single", "Hashtag-single"):
        return {"first candidate": _first(record["candidates"])}
    if subset == "Hashtag-multiple":
        return {"all candidates": record["candidates"], "first candidate": _first(record["candidates"])}
    return _OTHERS[subset](record)


def _first(candidates: str) -> str:
    return candidates.strip("[]").split(",")[0].strip().strip("'\"")


_OTHERS = {
    "QueryCorr-topic": lambda record: {f"always {level}": level for level in ("-1", "0", "1", "2", "3")},
    "QueryCorr-explain": lambda record: _YES_NO,
    "Gender": lambda record: _YES_NO,
    "CHLW": lambda record: _EMPTY_LIST,
    "MRC-simple": lambda record: _EMPTY_LIST | {"a copy of the note": str([record["content"]])},
    "MRC-complex": lambda record: {"empty Result": "<Result>[]</Result>"},
    "NER": lambda record: {"a copy of the text": record["content"]},
    "QueryGen": lambda record: {"the note's first line": _title(record["content"])},
}


def _title(note: str) -> str:
    """The title where a line says that it is one."""
    lines = [line.split(":", 1)[1].strip(" ,") for line in note.splitlines() if line.startswith("Note Title:")]
    return lines[0] if lines else note.splitlines()[0]
