"""Raw records to documents: each task reads its part of the input, and what is invalid is kept with its reason.

datatrove's own reader of JSON lines passes over an invalid line, and ends a file at invalid UTF-8,
with no more than a log entry; here every record must be accounted for.
"""

import bisect
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from megatron_redone.config.curate import SourceConfig
from megatron_redone.curation.counting import Amount, Flow, read_flows, write_flow
from megatron_redone.curation.documents import RecordFiles
from megatron_redone.curation.post_filter import Renderer
from megatron_redone.curation.posts import Post, parse_post, walk
from megatron_redone.errors import UserError
from megatron_redone.formats.input_records import EXCERPT, InvalidRecordError
from megatron_redone.formats.inputs import FileRange, InputFile, cut_file
from megatron_redone.formats.raw_records import RawRecord, read_raw
from megatron_redone.hashing import short_hash


@dataclass(frozen=True)
class SourceShard:
    """What one task reads: pieces of files, each with the source that names its file."""

    pieces: list[tuple[SourceConfig, FileRange]]

    @property
    def size(self) -> int:
        """Bytes of the stored files."""
        return sum(piece.size for _, piece in self.pieces)


def plan_shards(files: Sequence[tuple[SourceConfig, InputFile]], tasks: int) -> list[SourceShard]:
    """Cuts the input, in order, into as many parts of equal size as there are to be tasks.

    Compressed and Parquet files are not cut, so that there may be fewer parts.
    """
    total = sum(file.size for _, file in files)
    borders = [total * i // tasks for i in range(tasks + 1)]
    shards: list[list[tuple[SourceConfig, FileRange]]] = [[] for _ in range(tasks)]
    start = 0
    for source, file in files:
        inner = [border - start for border in borders if start < border < start + file.size]
        for part in cut_file(file, inner):
            if part.size:
                shards[bisect.bisect_right(borders, start + part.start) - 1].append((source, part))
        start += file.size
    return [SourceShard(pieces) for pieces in shards if pieces]


class ReadPosts(PipelineStep):
    """The first step: task N reads shard N."""

    type = "📖 - READER"
    name = "read"

    def __init__(
        self, shards: list[SourceShard], dropped: Path, counts: Path, renderer: Renderer, most_bytes: int
    ) -> None:
        super().__init__()
        self.shards = shards
        self.most_bytes = most_bytes
        self.files = RecordFiles(dropped / self.name)
        self.counts = counts
        self.renderer = renderer

    def run(self, data: Iterator[Document] | None = None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yields a document for each record that is a post."""
        flows: defaultdict[str, Flow] = defaultdict(lambda: Flow(Amount(), Amount()))
        with self.files:
            for source, piece in self.shards[rank].pieces:
                flow, kind = flows[source.name], source.kind.name
                for batch in read_raw(piece, self.most_bytes):
                    found = [self._document(raw, source, kind, rank) for raw in batch.records]
                    documents = [document for document in found if document is not None]
                    flow.entered.documents += len(found)
                    flow.left.add_documents(documents)
                    yield from documents
        write_flow(self.counts / self.name, rank, flows)

    def _document(self, raw: RawRecord, source: SourceConfig, kind: str, rank: int) -> Document | None:
        try:
            post = parse_post(raw.parse())
        except InvalidRecordError as problem:
            excerpt = raw.json[:EXCERPT].decode(errors="replace")
            record = {"id": "", "source": source.name, "reason": str(problem), "text": excerpt}
            self.files.write(source.name, rank, record)
            return None
        metadata = {"source": source.name, "kind": kind, "post": post}
        if post.topic is not None:
            metadata["topic"] = post.topic
        document = Document("", post.id or _content_id(source.name, post), metadata=metadata)
        self.renderer(document)
        return document


class CheckInvalid(PipelineStep):
    """Stops where too many records are invalid, before hours are spent on the others."""

    type = "📖 - READER"
    name = "check records"

    def __init__(self, counts: Path, most: float, dropped: Path) -> None:
        super().__init__()
        self.counts = counts
        self.most = most
        self.dropped = dropped

    def run(self, data: Iterator[Document] | None = None, rank: int = 0, world_size: int = 1) -> None:
        """Compares all tasks' records with what became of them."""
        flows = read_flows(self.counts / ReadPosts.name).values()
        records = sum(flow.entered.documents for flow in flows)
        invalid = records - sum(flow.left.documents for flow in flows)
        if invalid > self.most * records:
            raise UserError(
                f"{invalid:,} of {records:,} records are invalid, more than max_invalid={self.most:g}; "
                f"they are in {self.dropped / ReadPosts.name} with their reasons"
            )


def _content_id(source: str, post: Post) -> str:
    """An identifier for a record that has none: the same wherever the record lies."""
    parts = [post.title, post.text, *(comment.text for comment in walk(post.comments))]
    return f"{source}-{short_hash(parts)}"
