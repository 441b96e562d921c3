"""Documents as they go from step to step: datatrove's readers and writers, with our records."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers.jsonl import JsonlWriter

# What a document carries through the steps beside its text and id.
_CARRIED = ("source", "kind", "topic", "comments", "tokens", "shard")

Record = dict[str, Any]


class DocumentWriter(JsonlWriter):
    """Writes NNNNN.jsonl.zst, also where a task has no document, so that task N always reads file N."""

    name = "documents"

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder), "${rank}.jsonl", compression="zstd", adapter=_carried)

    def run(self, data: Iterator[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Writes what comes, and hands it on."""
        self.output_mg.get_file(f"{rank:05d}.jsonl.zst")
        yield from super().run(data, rank, world_size)


def read_documents(folder: Path) -> JsonlReader:
    """Reads what a `DocumentWriter` wrote, each task its own file."""
    return JsonlReader(str(folder), glob_pattern="*.jsonl.zst", compression="zstd", add_file_path=False)


def write_final(folder: Path, compressed: bool) -> JsonlWriter:
    """Writes SOURCE/NNNNN.jsonl of the records that a user gets."""
    return JsonlWriter(str(folder), "${source}/${rank}.jsonl", "gzip" if compressed else None, adapter=_final)


def write_dropped(folder: Path, step: str, reason: str = "") -> JsonlWriter:
    """Writes STEP/SOURCE/NNNNN.jsonl of what a step dropped.

    Args:
        folder: Of all steps.
        step: The step's name.
        reason: Why, where the step itself does not say.
    """
    return JsonlWriter(
        str(folder / step), "${source}/${rank}.jsonl", compression=None, adapter=partial(_dropped, reason)
    )


def _carried(_: JsonlWriter, document: Document) -> Record:
    metadata = document.metadata
    carried = {key: metadata[key] for key in _CARRIED if metadata.get(key) is not None}
    return {"id": document.id, "text": document.text, **carried}


def _final(_: JsonlWriter, document: Document) -> Record:
    metadata = document.metadata
    known = {key: metadata[key] for key in ("topic", "comments", "tokens") if metadata.get(key)}
    return {"id": document.id, "source": metadata["source"], **known, "text": document.text}


def _dropped(reason: str, _: JsonlWriter, document: Document) -> Record:
    metadata = document.metadata
    why = metadata.get("filter_reason", reason)
    known = {key: metadata[key] for key in ("comments", "tokens") if metadata.get(key)}
    return {"id": document.id, "source": metadata["source"], "reason": why, **known, "text": document.text}
