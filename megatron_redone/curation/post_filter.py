"""What the steps for posts share, and how a document goes through one after the other.

As long as they run, a document carries its post; what they change in it is rendered into its text.
What they drop is written with its reason: documents and single comments.
"""

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from megatron_redone.curation.counting import Amount, Flow, TokenCounter, add_by_source, write_flow
from megatron_redone.curation.documents import DroppedFiles, RecordFiles
from megatron_redone.curation.posts import Comment, walk
from megatron_redone.curation.rendering import render

Answer = bool | tuple[bool, str]

# Documents that a step is asked about in a row: its patterns stay in the processor's cache meanwhile.
_AT_ONCE = 256


def comments_of(step: str) -> str:
    """The folder of the single comments that a step took out of their threads."""
    return f"{step}_comments"


@dataclass
class Renderer:
    """Turns a document's post into its text, and counts what it holds."""

    show_authors: bool
    counter: TokenCounter | None

    def __call__(self, document: Document) -> None:
        post = document.metadata["post"]
        text = render(post, self.show_authors)
        document.metadata["comments"] = sum(1 for _ in walk(post.comments)) if post.comments else 0
        if text != document.text:
            document.metadata.pop("form", None)
        if self.counter is not None and (text != document.text or "tokens" not in document.metadata):
            document.metadata["tokens"] = self.counter.count(text)
        document.text = text


class PostFilter(PipelineStep):
    """What the steps share: files for what is dropped, and the renderer.

    Attributes:
        only_measures: Whether nothing is dropped: a document carries what the step says of it, and goes on.
    """

    type = "🔻 - FILTER"
    name: str
    only_measures = False

    def __init__(self, dropped: Path, renderer: Renderer) -> None:
        super().__init__()
        self.dropped = DroppedFiles(dropped, self.name)
        self.dropped_comments = RecordFiles(dropped / comments_of(self.name))
        self.renderer = renderer
        self.rank = 0

    def filter(self, doc: Document) -> Answer:
        """Whether a document stays; if not, why."""
        raise NotImplementedError

    def run(self, data: Iterator[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yields the documents that stay, and writes the others."""
        with self.opened(rank):
            for document in data or ():
                yield from self.passing([document])

    @contextlib.contextmanager
    def opened(self, rank: int) -> Iterator[None]:
        """While it is entered, `passing` can be asked about the documents of a task."""
        self.rank = rank
        with self.dropped, self.dropped_comments:
            yield

    def passing(self, documents: list[Document]) -> list[Document]:
        """Those of some documents that stay; the others are written."""
        if self.only_measures:
            for document in documents:
                self._measure(document)
            return documents
        stay = []
        for document in documents:
            answer = self.filter(document)
            if answer is True:
                stay.append(document)
            else:
                assert isinstance(answer, tuple), "a document that is dropped has a reason"
                self.dropped.drop(document, self.rank, answer[1])
        return stay

    def measure(self, doc: Document) -> tuple[Answer, dict[str, float]]:
        """The answer of `filter`, and what it compares with thresholds, by their names."""
        return self.filter(doc), {}

    def _measure(self, document: Document) -> None:
        answer, measured = self.measure(document)
        document.metadata.setdefault("measured", {}).update(measured)
        if answer is not True:
            assert isinstance(answer, tuple), "a document that would be dropped has a reason"
            document.metadata.setdefault("verdicts", {})[self.name] = answer[1]

    def drop_comment(self, document: Document, comment: Comment, reason: str) -> None:
        """Writes a comment that is taken out of its thread."""
        source = document.metadata["source"]
        record = {"id": document.id, "source": source, "reason": reason, "text": comment.text}
        self.dropped_comments.write(source, self.rank, record)


class FilterChain(PipelineStep):
    """Steps one after the other on each document, with their flows written to FOLDER/STEP/NNNNN.json.

    What leaves one step enters the next: it is counted once, and handed on without a generator for each.
    """

    type = "🔻 - FILTERS"
    name = "filters"

    def __init__(self, steps: Sequence[PostFilter], folder: Path) -> None:
        super().__init__()
        self.steps = steps
        self.folder = folder

    def run(self, data: Iterator[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yields the documents that pass all steps."""
        borders: defaultdict[str, list[Amount]] = defaultdict(lambda: [Amount() for _ in range(len(self.steps) + 1)])
        with contextlib.ExitStack() as stack:
            for step in self.steps:
                stack.enter_context(step.opened(rank))
            documents = iter(data or ())
            while batch := list(islice(documents, _AT_ONCE)):
                add_by_source(batch, lambda source: borders[source][0])
                for number, step in enumerate(self.steps, 1):
                    batch = step.passing(batch)
                    add_by_source(batch, lambda source, number=number: borders[source][number])
                yield from batch
        for number, step in enumerate(self.steps):
            flows = {name: Flow(found[number], found[number + 1]) for name, found in borders.items()}
            came = {name: flow for name, flow in flows.items() if flow.entered.documents}
            write_flow(self.folder / step.name, rank, came)
