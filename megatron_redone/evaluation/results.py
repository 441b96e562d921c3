"""Results per example on disk, a file for each model and task, so that finished parts are not computed again."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_redone.evaluation.kept_values import from_line, to_line
from megatron_redone.evaluation.response_journal import ResponseJournal
from megatron_redone.formats.atomic import write_text
from megatron_redone.formats.done_check import read_sealed, write_sealed
from megatron_redone.formats.file_record import damage, record_file


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
    """`FOLDER/MODEL/TASK.jsonl` holds results, `TASK.json` beside it says what they are of and how the file was."""

    def __init__(self, folder: Path) -> None:
        """Takes the folder, which may not exist yet."""
        self._folder = folder

    def read(self, model: str, task: str, work: str) -> Part | None:
        """Results of exactly this work as they were written, or None."""
        marker, is_intact = read_sealed(self._marker(model, task))
        file = self.file(model, task)
        if marker is None or not is_intact or marker.get("work") != work or damage({file: marker["file"]}):
            return None
        return Part([from_line(line) for line in file.read_bytes().splitlines()], marker["seconds"])

    def write(self, model: str, task: str, work: str, part: Part) -> None:
        """Keeps results; those of other work go first."""
        marker, file = self._marker(model, task), self.file(model, task)
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.unlink(missing_ok=True)
        write_text(file, "".join(to_line(line).decode() + "\n" for line in part.results))
        record = dataclasses.asdict(record_file(file))
        write_sealed(marker, {"work": work, "file": record, "seconds": round(part.seconds, 3)})
        self._journal_file(model, task).unlink(missing_ok=True)

    def file(self, model: str, task: str) -> Path:
        """Where results lie, one a line."""
        return self._folder / model / f"{task}.jsonl"

    def journal(self, model: str, task: str, work: str) -> ResponseJournal:
        """Where a model's responses are kept until its results on a task are whole."""
        return ResponseJournal(self._journal_file(model, task), work)

    def _journal_file(self, model: str, task: str) -> Path:
        return self._folder / model / f"{task}.partial.jsonl"

    def _marker(self, model: str, task: str) -> Path:
        return self._folder / model / f"{task}.json"
