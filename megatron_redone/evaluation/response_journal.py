"""Responses of a model on disk as they come, one a line, so that a run that was killed asks for the rest alone."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from megatron_redone.evaluation.kept_values import from_line, to_line


class ResponseJournal:
    """`FOLDER/MODEL/TASK.partial.jsonl`: a request's hash and the response to it on every line.

    The first line says what work the responses belong to; those of other work are left out.
    """

    def __init__(self, path: Path, work: str) -> None:
        """Reads what is there.

        Args:
            path: The file, which need not exist.
            work: Hash of everything that decides a response.
        """
        self._path = path
        self._work = work
        self._responses = _read(path, work)

    def __len__(self) -> int:
        return len(self._responses)

    def add(self, kind: str, arguments: Sequence[Any], response: Any) -> None:
        """Writes one, at once."""
        name = _name(kind, arguments)
        if not self._responses:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_bytes(orjson.dumps({"work": self._work}) + b"\n")
        self._responses[name] = response
        with open(self._path, "ab") as stream:
            stream.write(to_line([name, response]) + b"\n")

    def find(self, kind: str, arguments: Sequence[Any]) -> Any:
        """The response to a request, or None."""
        return self._responses.get(_name(kind, arguments))


def _name(kind: str, arguments: Sequence[Any]) -> str:
    content = orjson.dumps([kind, *arguments], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(content).hexdigest()[:32]


def _read(path: Path, work: str) -> dict[str, Any]:
    """What was being written when a run was killed is a line that does not parse."""
    try:
        first, *lines = path.read_bytes().splitlines()
        if orjson.loads(first) != {"work": work}:
            return {}
    except (OSError, ValueError):
        return {}
    responses = {}
    for line in lines:
        try:
            name, response = from_line(line)
        except ValueError:
            continue
        responses[name] = response
    return responses
