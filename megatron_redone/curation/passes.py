"""The passes of a curation, in order, as its configuration asks for them.

read, clean, filter            every task: its part of the input to one file of documents
exact duplicates               hash, find, drop
near duplicates                hash, match, join, drop
held out                       choose; then split every file
finish                         one task: counts must add up; the files that the user gets
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datatrove.pipeline.base import PipelineStep

from megatron_redone.config.curate import CurateConfig, Deduplicate, OutputForm
from megatron_redone.curation.counting import Counted, TokenCounter
from megatron_redone.curation.deduplication import exact_filter, exact_passes, minhash_filter, minhash_passes
from megatron_redone.curation.documents import DocumentWriter, read_documents, write_final
from megatron_redone.curation.executors import Pass
from megatron_redone.curation.held_out import ChooseHeldOut, NominateHeldOut, SplitHeldOut
from megatron_redone.curation.post_steps import (
    CleanPosts,
    DropAdvertising,
    DropByLength,
    DropRepetition,
    PostFilter,
    Renderer,
)
from megatron_redone.curation.reading import CheckInvalid, ReadPosts, SourceShard


@dataclass(frozen=True)
class Work:
    """Where the passes leave what the next ones read."""

    folder: Path

    @property
    def counts(self) -> Path:
        """Flows by step."""
        return self.folder / "counts"

    @property
    def dropped(self) -> Path:
        """Records by step and source."""
        return self.folder / "dropped"

    @property
    def held_out(self) -> Path:
        """Records by source."""
        return self.folder / "held_out"

    @property
    def final(self) -> Path:
        """Records by source."""
        return self.folder / "final"

    def documents(self, step: str) -> Path:
        """Documents that a step left."""
        return self.folder / "documents" / step


def funnel_steps(config: CurateConfig) -> list[str]:
    """The steps that drop or change documents, in order."""
    steps = ["read", CleanPosts.name, DropAdvertising.name, DropRepetition.name, DropByLength.name]
    if config.deduplicate is not Deduplicate.none:
        steps.append("exact")
    if config.deduplicate is Deduplicate.minhash:
        steps.append("near")
    return [*steps, SplitHeldOut.name] if config.held_out.fraction else steps


def plan_passes(config: CurateConfig, shards: list[SourceShard], folder: Path) -> list[Pass]:
    """All passes but the last, which `outputs` adds.

    Args:
        config: The configuration.
        shards: What each task reads.
        folder: The work folder.
    """
    work, tasks = Work(folder), len(shards)
    nominate = [NominateHeldOut(config.held_out, folder / "nominated")] if config.held_out.fraction else []
    last_drop = funnel_steps(config)[-2 if nominate else -1]

    def leave(step: str) -> list[PipelineStep]:
        return [*(nominate if step == last_drop else []), DocumentWriter(work.documents(step))]

    passes = [Pass("read, clean, filter", [*_filters(config, shards, work), *leave("length")], tasks)]
    passes.append(Pass("check records", [CheckInvalid(work.counts, config.max_invalid, work.dropped)], 1))
    documents = work.documents("length")
    if config.deduplicate is not Deduplicate.none:
        passes += exact_passes(documents, folder / "exact", tasks)
        drop = Counted("exact", exact_filter(folder / "exact", work.dropped), work.counts)
        passes.append(Pass("drop exact duplicates", [read_documents(documents), drop, *leave("exact")], tasks))
        documents = work.documents("exact")
    if config.deduplicate is Deduplicate.minhash:
        passes += minhash_passes(config.minhash, documents, folder / "near", tasks)
        drop = Counted("near", minhash_filter(folder / "near", work.dropped), work.counts)
        passes.append(Pass("drop near duplicates", [read_documents(documents), drop, *leave("near")], tasks))
        documents = work.documents("near")
    return [*passes, *_split(config, documents, work, tasks)]


def _filters(config: CurateConfig, shards: list[SourceShard], work: Work) -> Iterator[PipelineStep]:
    counter = TokenCounter(config.tokenizer) if config.tokenizer is not None else None
    renderer = Renderer(config.clean.show_authors, counter)
    steps: list[PostFilter] = [
        CleanPosts(config.clean, work.dropped, renderer),
        DropAdvertising(config.advertising, config.clean.remove_links, work.dropped, renderer),
        DropRepetition(config.repetition, work.dropped, renderer),
        DropByLength(config.length, work.dropped, renderer),
    ]
    yield ReadPosts(shards, work.dropped, work.counts, renderer, config.max_record_mb << 20)
    yield from (Counted(step.name, step, work.counts) for step in steps)


def _split(config: CurateConfig, documents: Path, work: Work, tasks: int) -> Iterator[Pass]:
    read = read_documents(documents)
    final = write_final(work.final, compressed=config.output is OutputForm.shards)
    if not config.held_out.fraction:
        yield Pass("write", [read, final], tasks)
        return
    nominated, chosen = work.folder / "nominated", work.folder / "chosen"
    ngram = config.minhash.ngram
    yield Pass("choose held out", [ChooseHeldOut(config.held_out, ngram, nominated, chosen)], 1)
    writer = write_final(work.held_out, compressed=False)
    split = SplitHeldOut(config.held_out, ngram, chosen, writer, work.dropped)
    yield Pass("split and write", [read, Counted(split.name, split, work.counts), final], tasks)
