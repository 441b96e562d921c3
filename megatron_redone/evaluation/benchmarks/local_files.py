"""Files of a benchmark on this machine: nothing is ever fetched."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from megatron_redone.errors import UserError


def find_folder(benchmark: str, data: str | None) -> Path:
    """The folder (or file) of a benchmark's data.

    Raises:
        UserError: none is named, or there is none.
    """
    if not data:
        raise UserError(f"{benchmark}: its data has no place; name the folder with data=FOLDER")
    folder = Path(data)
    if not folder.exists():
        raise UserError(f"{benchmark}: {folder} does not exist; name the folder of its data with data=FOLDER")
    return folder


def find_file(benchmark: str, folder: Path, *names: str) -> Path:
    """The first file of these names; a folder that is a file itself stands for it.

    Raises:
        UserError: none is there.
    """
    if folder.is_file():
        return folder
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found is None:
        raise UserError(f"{benchmark}: {folder} has no {' or '.join(names)}")
    return found


def read_json_records(benchmark: str, file: Path, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """Records of a JSON list or of JSON lines, each with these keys.

    Raises:
        UserError: the file cannot be read, or a record lacks a key.
    """
    try:
        text = file.read_text(encoding="utf-8")
        records = json.loads(text) if text.lstrip().startswith("[") else _json_lines(text)
    except OSError as error:
        raise UserError(f"{benchmark}: {file} cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise UserError(f"{benchmark}: {file} is no JSON ({error})") from None
    return check_records(benchmark, file, records, keys)


def _json_lines(text: str) -> list[Any]:
    """A record a line, between line feeds alone: JSON's strings may hold U+2028 and U+0085. Blank lines hold none."""
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def check_records(benchmark: str, file: Path, records: Any, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """Records as they are, once each has these keys.

    Raises:
        UserError: there is none, or one lacks a key.
    """
    if not isinstance(records, list) or not records:
        raise UserError(f"{benchmark}: {file} holds no records")
    for number, record in enumerate(records, 1):
        missing = [key for key in keys if not isinstance(record, dict) or key not in record]
        if missing:
            raise UserError(f"{benchmark}: record {number} of {file} has no '{missing[0]}'")
    return records


def read_tables(benchmark: str, folder: Path) -> Iterator[tuple[str, list[list[str]]]]:
    """Names and rows of the CSV files of a folder, without a header that speaks of questions.

    Raises:
        UserError: there is no such file, or one cannot be read.
    """
    files = sorted(folder.glob("*.csv"))
    if not files:
        raise UserError(f"{benchmark}: {folder} has no CSV files")
    for file in files:
        try:
            with open(file, encoding="utf-8", newline="") as stream:
                rows = [row for row in csv.reader(stream) if row]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"{benchmark}: {file} cannot be read ({error})") from None
        if rows and any(cell.strip().lower() == "question" for cell in rows[0]):
            begin = [cell.strip().lower() for cell in rows[0]].index("question")
            rows = [row[begin:] for row in rows[1:]]
        name = file.stem
        for ending in ("_test", "_dev", "_val"):
            name = name.removesuffix(ending)
        yield name, rows
