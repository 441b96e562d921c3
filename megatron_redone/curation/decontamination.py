"""Documents with text of evaluation sets: dropped, or left without that text, with item, field and place."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from megatron_redone.config.curate import Contaminated, DecontaminationConfig
from megatron_redone.curation.contamination import ItemIndex, Run, cut
from megatron_redone.curation.documents import DroppedFiles
from megatron_redone.curation.evaluation_items import read_items
from megatron_redone.curation.scripts import weighted_length

_AT_ONCE = 256


class Decontaminate(PipelineStep):
    """Looks for text of evaluation sets in documents, many at once.

    Attributes:
        only_measures: Whether documents are only told of what is found in them, and stay as they are.
    """

    type = "🧪 - DECONTAMINATION"
    name = "contamination"
    only_measures = False

    def __init__(self, config: DecontaminationConfig, dropped: Path) -> None:
        super().__init__()
        self.config = config
        self.dropped = DroppedFiles(dropped, self.name)
        self.cut_from = DroppedFiles(dropped, f"{self.name}_cut")

    def run(self, data: Iterator[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yields what stays; what is dropped, or cut, is written with what was found in it."""
        config = self.config
        index = ItemIndex(read_items(config.benchmarks), config.run, config.min_letters, config.most_items)
        documents = iter(data or ())
        with self.dropped, self.cut_from:
            while batch := list(islice(documents, _AT_ONCE)):
                for document, runs in zip(batch, index.search([one.text for one in batch]), strict=True):
                    if runs and self.only_measures:
                        document.metadata.setdefault("verdicts", {})[self.name] = _reason(runs)
                    if not runs or self.only_measures or self._is_cut(document, runs, rank):
                        yield document

    def _is_cut(self, document: Document, runs: Sequence[Run], rank: int) -> bool:
        reason = _reason(runs)
        text = cut(document.text, runs) if self.config.action is Contaminated.cut else ""
        if not weighted_length(text):
            self.dropped.drop(document, rank, reason, found=_records(runs))
            return False
        self.cut_from.drop(document, rank, reason, found=_records(runs))
        document.text = text
        document.metadata.pop("form", None)
        return True


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
