"""The items of evaluation sets, as the strings that they are made of."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_redone.errors import UserError
from megatron_redone.formats.input_records import InvalidRecordError
from megatron_redone.formats.inputs import SUFFIXES, InputFile, expand_inputs
from megatron_redone.formats.raw_records import read_raw
from megatron_redone.nested import texts_in


@dataclass(frozen=True)
class Field:
    """A string of an item: `choices.2` of item 17 of `mmlu`."""

    benchmark: str
    item: str
    name: str


def read_items(paths: Sequence[str]) -> Iterator[tuple[Field, str]]:
    """Every string of every item of evaluation sets.

    Args:
        paths: Files, folders or globs of .csv (with a header), .json, .jsonl or .parquet. A file's name names
            the benchmark, together with its folder's; an item is called by its key `id`, or by its number.

    Raises:
        UserError: a file cannot be read.
    """
    for path in paths:
        names = sorted(str(p) for p in Path(path).rglob("*.csv")) if Path(path).is_dir() else []
        is_csv = path.endswith(".csv")
        for name in [path] if is_csv else names:
            yield from _fields_of(name, _csv_rows(name))
        if not is_csv and (not names or any(p.name.endswith(SUFFIXES) for p in Path(path).rglob("*.*"))):
            for file in expand_inputs([path]):
                yield from _fields_of(file.path, _rows(file))


def _rows(file: InputFile) -> Iterator[dict[str, Any]]:
    for raw in (record for batch in read_raw(file) for record in batch.records):
        if raw.json.strip() or raw.fault:
            try:
                yield raw.parse()
            except InvalidRecordError as problem:
                raise UserError(f"{file.path}:{raw.place}: {problem}") from None


def _csv_rows(name: str) -> Iterator[dict[str, Any]]:
    try:
        with open(name, encoding="utf-8-sig", newline="") as stream:
            yield from csv.DictReader(stream)
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise UserError(f"{name}: cannot be read as CSV in UTF-8: {problem}") from None


def _fields_of(path: str, rows: Iterable[dict[str, Any]]) -> Iterator[tuple[Field, str]]:
    benchmark = f"{Path(path).parent.name}/{Path(path).stem}"
    for number, row in enumerate(rows):
        item = str(row.get("id", number))
        for place, text in texts_in(row):
            yield Field(benchmark, item, ".".join(map(str, place))), text
