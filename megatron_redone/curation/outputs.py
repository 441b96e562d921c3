"""The last pass: counts that must add up, and the files that the user gets."""

import dataclasses
import gzip
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from megatron_redone import __version__
from megatron_redone.config.curate import CurateConfig, OutputForm
from megatron_redone.config.schema import config_hash, plain
from megatron_redone.curation.funnel import Row, build_funnel, check_funnel, funnel_json, funnel_table
from megatron_redone.curation.passes import Work, funnel_steps
from megatron_redone.curation.personal_step import gather_found
from megatron_redone.errors import UserError
from megatron_redone.formats.atomic import atomic_file, write_json, write_text
from megatron_redone.formats.done_check import Finished, read_finished, remove_finished, write_sealed
from megatron_redone.formats.file_record import record_file, record_files
from megatron_redone.formats.inputs import InputFile

FORMAT = "megatron_redone.curated/1"
MANIFEST = "manifest.json"
FUNNEL = "funnel.json"
TABLE = "funnel.txt"
PERSONAL = "personal_data.json"

_SHARDS = "*.jsonl.gz"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class OutputFile:
    """A file of the result.

    Attributes:
        path: Relative to the output folder.
    """

    path: str
    source: str
    held_out: bool
    documents: int
    size: int
    sha256: str
    sample: str = ""


class Finish(PipelineStep):
    """Checks and merges what all tasks wrote, and last writes the manifest, which says that all is there."""

    type = "🏁 - FINISH"
    name = "finish"

    def __init__(self, config: CurateConfig, inputs: list[InputFile], work_hash: str, folder: Path) -> None:
        super().__init__()
        self.config = config
        self.inputs = inputs
        self.work_hash = work_hash
        self.work = Work(folder)
        self.output = Path(config.output_dir)

    def run(self, data: Iterator[Document] | None = None, rank: int = 0, world_size: int = 1) -> None:
        """Writes NAME.jsonl, held_out/, dropped/, funnel.json, funnel.txt, personal_data.json and manifest.json."""
        steps, sources = funnel_steps(self.config), [source.name for source in self.config.sources]
        rows = build_funnel(steps, sources, self.work.folder)
        check_funnel(rows)
        files = [file for name in sources for file in self._write(name)]
        _check_written(rows, files)
        for step in sorted(path.name for path in self.work.dropped.glob("*")):
            for source in sources:
                _merge_if_any(self.work.dropped / step / source, self.output / "dropped" / step / f"{source}.jsonl")
        tokens = self.config.tokenizer is not None
        write_json(self.output / FUNNEL, {"tokens_counted": tokens, "rows": funnel_json(rows, tokens)})
        if self.config.personal_data.kinds:
            found = gather_found(self.work.personal, self.config.personal_data.samples)
            write_json(self.output / PERSONAL, found)
        write_text(self.output / TABLE, funnel_table(rows, tokens) + "\n")
        write_sealed(self.output / MANIFEST, self._manifest(files))

    def _write(self, source: str) -> Iterator[OutputFile]:
        if self.config.output is OutputForm.file:
            target = self.output / f"{source}.jsonl"
            yield self._file(_merge(self.work.final / source, target), source)
        else:
            yield from self._move_shards(source)
        if self.config.held_out.fraction:
            target = self.output / "held_out" / f"{source}.jsonl"
            yield self._file(_merge(self.work.held_out / source, target), source, held_out=True)

    def _move_shards(self, source: str) -> Iterator[OutputFile]:
        made, folder = self.work.final / source, self.output / source
        folder.mkdir(parents=True, exist_ok=True)
        if made.is_dir():  # else this pass was interrupted, and has moved them
            for stale in folder.glob(_SHARDS):  # of a run that was interrupted, and then planned anew
                stale.unlink()
            if foreign := sorted(path.name for path in folder.iterdir()):
                raise UserError(f"{folder}: {foreign[0]} is no shard of a result; move it away and run again")
            os.replace(made, folder)
        for path in sorted(folder.glob(_SHARDS)):
            yield self._file(path, source)

    def _file(self, path: Path, source: str, held_out: bool = False) -> OutputFile:
        documents = 0
        opened: Any = gzip.open(path) if path.suffix == ".gz" else open(path, "rb")
        with opened as stream:
            while block := stream.read(_BLOCK):
                documents += block.count(b"\n")
        name = str(path.relative_to(self.output))
        return OutputFile(name, source, held_out, documents, **dataclasses.asdict(record_file(path)))

    def _reports(self) -> list[Path]:
        """The files for people to read: what was dropped and why, and the funnel."""
        dropped = sorted((self.output / "dropped").rglob("*.jsonl"))
        personal = [self.output / PERSONAL] if self.config.personal_data.kinds else []
        return [*dropped, self.output / FUNNEL, self.output / TABLE, *personal]

    def _manifest(self, files: list[OutputFile]) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "work": self.work_hash,
            "config": plain(self.config),
            "config_hash": config_hash(self.config),
            "inputs": [dataclasses.asdict(file) for file in self.inputs],
            "outputs": [dataclasses.asdict(file) for file in files],
            "reports": record_files(self.output, self._reports()),
            "version": __version__,
        }


def _check_written(rows: list[Row], files: list[OutputFile]) -> None:
    for row in rows:
        if row.step != rows[-1].step:
            continue
        for held_out, expected in ((False, row.left.documents), (True, row.held_out.documents)):
            written = sum(f.documents for f in files if f.source == row.source and f.held_out is held_out)
            if written != expected:
                raise UserError(
                    f"{expected:,} documents of source '{row.source}' should have been written, {written:,} are there; "
                    "is the disk full? Remove the folder 'work' in output_dir and run again"
                )


def _merge_if_any(folder: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    if folder.is_dir():
        _merge(folder, target)


def _merge(folder: Path, target: Path) -> Path:
    """Joins a folder's files in order."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(target, "wb") as joined:
        for path in sorted(folder.glob("*.jsonl")):
            with open(path, "rb") as part:
                shutil.copyfileobj(part, joined, _BLOCK)
    return target


def finished_curation(output: Path) -> Finished | None:
    """What the manifest in an output folder says, or None where there is none."""
    return read_finished(output / MANIFEST, _records, FORMAT)


def _records(content: Mapping[str, Any]) -> dict[str, Any]:
    return {file["path"]: file for file in content["outputs"]} | content.get("reports", {})


def remove_curation(output: Path, finished: Finished | None) -> None:
    """Removes the files of a result that is being replaced, if there is one, its manifest first.

    Raises:
        UserError: the manifest lists a file outside the folder.
    """
    if finished is None:
        return
    remove_finished(finished, output)
    shutil.rmtree(output / "dropped", ignore_errors=True)
