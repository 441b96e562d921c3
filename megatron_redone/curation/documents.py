"""Documents as they go from pass to pass, and the records that a user gets.

datatrove's own readers and writers keep statistics of every document, which takes more time than the
documents do; what is counted here is counted once, by `counting.Counted`.
"""

import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import orjson
import zstandard
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

# What a document carries from pass to pass beside its text and id.
_CARRIED = ("source", "kind", "topic", "comments", "tokens", "language", "verdicts", "measured")

_BUFFER = 1 << 20

Record = dict[str, Any]


class RecordFiles:
    """Files SOURCE/NNNNN.jsonl of one folder, opened when their first record comes."""

    def __init__(self, folder: Path, compressed: bool = False) -> None:
        """Prepares to write.

        Args:
            folder: Of all sources.
            compressed: Whether the files are NNNNN.jsonl.gz.
        """
        self.folder = folder
        self.compressed = compressed
        self._open: dict[tuple[str, int], BinaryIO] = {}

    def __enter__(self) -> "RecordFiles":
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        for file in self._open.values():
            file.close()
        self._open.clear()

    def write(self, source: str, rank: int, record: Record) -> None:
        """Writes one record of a source."""
        file = self._open.get((source, rank))
        if file is None:
            file = self._open[source, rank] = self._opened(self.folder / source, rank)
        file.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))

    def _opened(self, folder: Path, rank: int) -> BinaryIO:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{rank:05d}.jsonl"
        if self.compressed:  # without the time of day, so that the same documents are the same bytes
            return gzip.GzipFile(f"{path}.gz", "wb", mtime=0)  # type: ignore[return-value]
        return path.open("wb")


class DroppedFiles(RecordFiles):
    """STEP/SOURCE/NNNNN.jsonl of what a step dropped, each record with its reason."""

    def __init__(self, dropped: Path, step: str) -> None:
        super().__init__(dropped / step)

    def drop(self, document: Document, rank: int, reason: str, **more: Any) -> None:
        """Writes a document that goes no further; `more` stands beside its reason."""
        metadata = document.metadata
        known = {key: metadata[key] for key in ("comments", "tokens") if metadata.get(key)}
        record = {
            "id": document.id,
            "source": metadata["source"],
            "reason": reason,
            **more,
            **known,
            "text": document.text,
        }
        self.write(metadata["source"], rank, record)


class DocumentWriter(PipelineStep):
    """Writes NNNNN.jsonl.zst, also where a task has no document, so that task N always reads file N."""

    type = "💽 - WRITER"
    name = "documents"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def run(self, data: Iterator[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Writes what comes, and hands it on."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (
            open(_documents_file(self.folder, rank), "wb", _BUFFER) as raw,
            zstandard.ZstdCompressor(level=1).stream_writer(raw) as compressed,
            # The compressor is asked for many documents at once.
            io.BufferedWriter(compressed, _BUFFER) as stream,  # type: ignore[arg-type]
        ):
            for document in data or ():
                known = document.metadata.get
                carried = {key: value for key in _CARRIED if (value := known(key)) is not None}
                record = {"id": document.id, "text": document.text, **carried}
                stream.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
                yield document


class DocumentReader(PipelineStep):
    """Reads what a `DocumentWriter` wrote, each task its own file; a document knows its place in it, `index`."""

    type = "📖 - READER"
    name = "documents"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def run(self, data: Iterator[Document] | None = None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yields the documents in order."""
        for index, line in enumerate(_lines(_documents_file(self.folder, rank))):
            record = orjson.loads(line)
            yield Document(record.pop("text"), record.pop("id"), metadata={**record, "index": index})


class FinalWriter(PipelineStep):
    """Writes SOURCE/NNNNN.jsonl of the records that a user gets."""

    type = "💽 - WRITER"
    name = "final"

    def __init__(self, folder: Path, compressed: bool) -> None:
        super().__init__()
        self.files = RecordFiles(folder, compressed)

    def run(self, data: Iterator[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Writes what comes, and hands it on."""
        with self.files:
            for document in data or ():
                write_final(self.files, document, rank)
                yield document


def write_final(files: RecordFiles, document: Document, rank: int) -> None:
    """Writes a document as a user gets it."""
    metadata = document.metadata
    known = {key: metadata[key] for key in ("topic", "comments", "tokens", "language") if metadata.get(key)}
    record = {"id": document.id, "source": metadata["source"], **known, "text": document.text}
    files.write(metadata["source"], rank, record)


def _documents_file(folder: Path, rank: int) -> Path:
    return folder / f"{rank:05d}.jsonl.zst"


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a compressed file; no JSON text has a line feed inside."""
    rest = b""
    with open(path, "rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as stream:
        while block := stream.read(_BUFFER):
            *whole, rest = (rest + block).split(b"\n")
            yield from whole
