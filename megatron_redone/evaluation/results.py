"""Results per example on disk, a file for each model and task, so that finished parts are not computed again."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from megatron_redone.formats.atomic import write_json, write_text


@dataclass(frozen=True)
class Part:
    """A model's results on a task.

    Attributes:
        results: One for each example.
        seconds: What they took when they were computed.
    """

    results: list[dict[str, Any]]
    seconds: float


class ResultFolder:
    """`FOLDER/MODEL/TASK.jsonl` holds results, `TASK.json` beside it says what they are of and that they are whole."""

    def __init__(self, folder: Path) -> None:
        """Takes the folder, which may not exist yet."""
        self._folder = folder

    def read(self, model: str, task: str, work: str) -> Part | None:
        """Results of exactly this work, or None."""
        try:
            marker = json.loads(self._marker(model, task).read_text(encoding="utf-8"))
            if marker["work"] != work:
                return None
            results = [orjson.loads(line) for line in self._lines(model, task).read_bytes().splitlines()]
            return Part(results, marker["seconds"]) if len(results) == marker["examples"] else None
        except (OSError, ValueError, KeyError):
            return None

    def write(self, model: str, task: str, work: str, part: Part) -> None:
        """Keeps results; those of other work go first."""
        marker = self._marker(model, task)
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.unlink(missing_ok=True)
        write_text(self._lines(model, task), "".join(orjson.dumps(line).decode() + "\n" for line in part.results))
        write_json(marker, {"work": work, "examples": len(part.results), "seconds": round(part.seconds, 3)})

    def _lines(self, model: str, task: str) -> Path:
        return self._folder / model / f"{task}.jsonl"

    def _marker(self, model: str, task: str) -> Path:
        return self._folder / model / f"{task}.json"
