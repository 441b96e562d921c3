"""Documents with text of evaluation sets: dropped, or left without that text, with item, field and place."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from megatron_redone.config.curate import Contaminated, DecontaminationConfig
from megatron_redone.curation.contamination import ItemIndex, Run, cut
from megatron_redone.curation.counting import TokenCounter
from megatron_redone.curation.documents import DroppedFiles, RecordFiles
from megatron_redone.curation.evaluation_items import read_items
from megatron_redone.curation.post_filter import comments_of
from megatron_redone.curation.scripts import weighted_length

_AT_ONCE = 256

# What `rendering` puts before a comment: its depth, and the letter of who speaks.
_COMMENT_MARK = re.compile(r"\A *- (?:[A-Z]+: ?)?")


class Decontaminate(PipelineStep):
    """Looks for text of evaluation sets in documents, many at once.

    Attributes:
        only_measures: Whether documents are only told of what is found in them, and stay as they are.
    """

    type = "🧪 - DECONTAMINATION"
    name = "contamination"
    only_measures = False

    def __init__(self, config: DecontaminationConfig, dropped: Path, counter: TokenCounter | None = None) -> None:
        super().__init__()
        self.config = config
        self.counter = counter
        self.dropped = DroppedFiles(dropped, self.name)
        self.cut_from = DroppedFiles(dropped, f"{self.name}_cut")
        self.dropped_comments = RecordFiles(dropped / comments_of(self.name))

    def run(self, data: Iterator[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yields what stays; what is dropped, or cut, is written with what was found in it."""
        config = self.config
        index = ItemIndex(read_items(config.benchmarks), config.run, config.min_letters, config.most_items)
        documents = iter(data or ())
        with self.dropped, self.cut_from, self.dropped_comments:
            while batch := list(islice(documents, _AT_ONCE)):
                for document, runs in zip(batch, index.search([one.text for one in batch]), strict=True):
                    if runs and self.only_measures:
                        document.metadata.setdefault("verdicts", {})[self.name] = _reason(runs)
                    if not runs or self.only_measures or self._is_cut(document, runs, rank):
                        yield document

    def _is_cut(self, document: Document, runs: Sequence[Run], rank: int) -> bool:
        reason = _reason(runs)
        emptied = _emptied_comments(document, runs) if self.config.action is Contaminated.cut else []
        text = cut(document.text, [*runs, *emptied]) if self.config.action is Contaminated.cut else ""
        if not weighted_length(text):
            self.dropped.drop(document, rank, reason, found=_records(runs))
            return False
        self.cut_from.drop(document, rank, reason, found=_records(runs))
        for comment in emptied:
            self._drop_comment(document, comment, rank, reason)
        document.text = text
        document.metadata.pop("form", None)
        if emptied:
            document.metadata["comments"] -= len(emptied)
        if self.counter is not None:
            document.metadata["tokens"] = self.counter.count(text)
        return True

    def _drop_comment(self, document: Document, line: Run, rank: int, reason: str) -> None:
        source = document.metadata["source"]
        text = _COMMENT_MARK.sub("", document.text[line.start : line.end])
        self.dropped_comments.write(source, rank, {"id": document.id, "source": source, "reason": reason, "text": text})


def _emptied_comments(document: Document, runs: Sequence[Run]) -> list[Run]:
    """The lines of comments that nothing but their marks would be left of."""
    emptied = []
    text, end = document.text, len(document.text)
    for _ in range(document.metadata.get("comments", 0)):  # a comment is a line, and comments stand last
        start = text.rfind("\n", 0, end) + 1
        inside = [_shifted(run, start, end) for run in runs if run.start < end and start < run.end]
        if inside and not weighted_length(_COMMENT_MARK.sub("", cut(text[start:end], inside))):
            emptied.append(replace(runs[0], start=start, end=end))
        end = start - 1
    return emptied


def _shifted(run: Run, start: int, end: int) -> Run:
    """What a part `text[start:end]` has of a run, as it stands there."""
    return replace(run, start=max(run.start, start) - start, end=min(run.end, end) - start)


def _reason(runs: Sequence[Run]) -> str:
    return f"text of {runs[0].field.benchmark}"


def _records(runs: Sequence[Run]) -> list[dict[str, Any]]:
    return [
        {
            "benchmark": run.field.benchmark,
            "item": run.field.item,
            "field": run.field.name,
            "start": run.start,
            "end": run.end,
            "units": run.units,
        }
        for run in runs
    ]
