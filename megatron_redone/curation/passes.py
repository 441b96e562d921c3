"""The passes of a curation, in order, as its configuration asks for them.

read, clean, filter            every task: its part of the input to one file of documents, and their fingerprints
exact duplicates               find and gather, in the fingerprints alone
near duplicates                match, verify, choose who stays, likewise
held out                       choose, likewise
drop, split, write             every task: its documents, for the second and last time
finish                         one task: counts must add up; the files that the user gets
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datatrove.pipeline.base import PipelineStep

from megatron_redone.config.curate import CurateConfig, Deduplicate, OutputForm
from megatron_redone.curation.counting import Counted, TokenCounter
from megatron_redone.curation.cutting import part_count
from megatron_redone.curation.decontamination import Decontaminate
from megatron_redone.curation.deduplication import exact_passes, near_folder, near_passes
from megatron_redone.curation.documents import DocumentReader, DocumentWriter, FinalWriter
from megatron_redone.curation.duplicate_lists import DropListed
from megatron_redone.curation.executors import Pass
from megatron_redone.curation.held_out import ChooseHeldOut, SplitHeldOut
from megatron_redone.curation.measuring import Measure, Sample
from megatron_redone.curation.personal_step import MaskPersonalData
from megatron_redone.curation.post_filter import FilterChain, PostFilter, Renderer
from megatron_redone.curation.post_steps import (
    CleanPosts,
    CutThreads,
    DropAdvertising,
    DropByLanguage,
    DropByLength,
    DropRepetition,
)
from megatron_redone.curation.prints import PrintWriter
from megatron_redone.curation.reading import CheckInvalid, ReadPosts, SourceShard
from megatron_redone.curation.thresholds import NEAR


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

    @property
    def documents(self) -> Path:
        """What the filters left, by task."""
        return self.folder / "documents"

    @property
    def prints(self) -> Path:
        """Fingerprints of `documents`."""
        return self.folder / "prints"

    @property
    def personal(self) -> Path:
        """Counts and samples of personal data, by task."""
        return self.folder / "personal"

    @property
    def chosen(self) -> Path:
        """Which documents are held out."""
        return self.folder / "chosen"

    @property
    def measured(self) -> Path:
        """What was counted without dropping, by task."""
        return self.folder / "measured"

    def found(self, kind: str) -> Path:
        """Lists of duplicates: exact or near."""
        return self.folder / kind / "found"


def funnel_steps(config: CurateConfig) -> list[str]:
    """The steps that drop or change documents, in order."""
    steps = ["read", CleanPosts.name, DropAdvertising.name]
    steps += [MaskPersonalData.name] if config.personal_data.kinds else []
    steps += [DropRepetition.name, *([CutThreads.name] if config.threads.max_tokens else []), DropByLength.name]
    steps += [DropByLanguage.name] if _asks_for_languages(config) else []
    steps += [Decontaminate.name] if config.decontamination.benchmarks else []
    if config.deduplicate is not Deduplicate.none:
        steps.append("exact")
    if config.deduplicate is Deduplicate.minhash:
        steps.append("near")
    return [*steps, SplitHeldOut.name] if config.held_out.fraction else steps


def dropping_steps(config: CurateConfig) -> list[str]:
    """The steps that drop documents and that are measured first."""
    neither = ("read", MaskPersonalData.name, CutThreads.name, SplitHeldOut.name)
    return [step for step in funnel_steps(config) if step not in neither]


def plan_measure(config: CurateConfig, shards: list[SourceShard], folder: Path) -> list[Pass]:
    """The passes of `mode: measure` but the last, which `measured_files` adds.

    Args:
        config: The configuration.
        shards: What each task reads.
        folder: The work folder.
    """
    work, tasks, parts = Work(folder), len(shards), part_count(sum(shard.size for shard in shards))
    names = [source.name for source in config.sources]
    prints = PrintWriter(
        config.minhash, config.deduplicate is Deduplicate.minhash, config.held_out.seed, names, work.prints, parts
    )
    sample = Sample(config.measure.fraction, config.measure.seed)
    steps = [*_filters(config, shards, work, sample), prints, DocumentWriter(work.documents)]
    check = Pass("check records", [CheckInvalid(work.counts, config.max_invalid, work.dropped)], 1)
    passes = [Pass("read and ask every step", steps, tasks), check]
    exact = work.found("exact")
    if config.deduplicate is not Deduplicate.none:
        passes += exact_passes(work.prints, exact, tasks, parts)
    near: dict[float, Path] = {}
    if config.deduplicate is Deduplicate.minhash:
        values, folder = NEAR.looked_at(config), work.folder / "near"
        near = {value: near_folder(config.minhash, folder, value) / "found" for value in values}
        passes += near_passes(config.minhash, work.prints, exact, folder, tasks, parts, values)
    measure = Measure(
        config,
        None if config.deduplicate is Deduplicate.none else exact,
        near,
        work.measured,
        config.minhash.min_jaccard,
    )
    return [*passes, Pass("count", [DocumentReader(work.documents), measure], tasks)]


def plan_passes(config: CurateConfig, shards: list[SourceShard], folder: Path) -> list[Pass]:
    """All passes but the last, which `outputs` adds.

    Args:
        config: The configuration.
        shards: What each task reads.
        folder: The work folder.
    """
    work, tasks, parts = Work(folder), len(shards), part_count(sum(shard.size for shard in shards))
    final = FinalWriter(work.final, compressed=config.output is OutputForm.shards)
    check = Pass("check records", [CheckInvalid(work.counts, config.max_invalid, work.dropped)], 1)
    if config.deduplicate is Deduplicate.none and not config.held_out.fraction:
        return [Pass("read, clean, filter, write", [*_filters(config, shards, work), final], tasks), check]
    names = [source.name for source in config.sources]
    near = config.deduplicate is Deduplicate.minhash
    like = near or config.held_out.fraction > 0
    prints = PrintWriter(config.minhash, near, config.held_out.seed, names, work.prints, parts, like)
    first = [*_filters(config, shards, work), prints, DocumentWriter(work.documents)]
    passes = [Pass("read, clean, filter", first, tasks), check]
    last: list[PipelineStep] = [DocumentReader(work.documents)]
    for name, reason, finding in _duplicates(config, work, tasks, parts):
        passes += finding
        drop = DropListed(name, reason, work.found(name), work.dropped)
        last.append(Counted(name, drop, work.counts))
    if config.held_out.fraction:
        gone = [work.found(name) for name in ("exact", "near")]
        choose = ChooseHeldOut(config.held_out, work.prints, gone, work.chosen, tasks)
        passes.append(Pass("choose held out", [choose], 1))
        split = SplitHeldOut(config.held_out, work.prints, work.chosen, work.held_out, work.dropped)
        last.append(Counted(split.name, split, work.counts))
    return [*passes, Pass("drop, split, write", [*last, final], tasks)]


def _duplicates(config: CurateConfig, work: Work, tasks: int, parts: int) -> Iterator[tuple[str, str, list[Pass]]]:
    exact = work.found("exact")
    if config.deduplicate is not Deduplicate.none:
        yield "exact", "same text as an earlier one", exact_passes(work.prints, exact, tasks, parts)
    if config.deduplicate is Deduplicate.minhash:
        passes = near_passes(config.minhash, work.prints, exact, work.folder / "near", tasks, parts)
        yield "near", "nearly the same as one that stays", passes


def _asks_for_languages(config: CurateConfig) -> bool:
    return any(source.languages for source in config.sources)


def _filters(
    config: CurateConfig, shards: list[SourceShard], work: Work, sample: "Sample | None" = None
) -> Iterator[PipelineStep]:
    """The steps up to fingerprints; with a sample they only measure."""
    counter = TokenCounter(config.tokenizer) if config.tokenizer is not None else None
    renderer = Renderer(config.clean.show_authors, counter)
    personal = MaskPersonalData(config.personal_data, work.personal, renderer)
    by_source = {source.name: source.languages for source in config.sources}
    steps: list[PostFilter | Decontaminate] = [
        CleanPosts(config.clean, config.threads, work.dropped, renderer),
        DropAdvertising(config.advertising, config.clean.remove_links, work.dropped, renderer),
        *([personal] if config.personal_data.kinds else []),
        DropRepetition(config.repetition, config.threads.remove_quotes, work.dropped, renderer),
        *([CutThreads(config.threads, work.dropped, renderer)] if config.threads.max_tokens else []),
        DropByLength(config.length, work.dropped, renderer),
        *([DropByLanguage(by_source, work.dropped, renderer)] if _asks_for_languages(config) else []),
        *([Decontaminate(config.decontamination, work.dropped, counter)] if config.decontamination.benchmarks else []),
    ]
    yield ReadPosts(shards, work.dropped, work.counts, renderer, config.max_record_mb << 20)
    if sample is not None:
        yield sample
    for step in steps:
        if isinstance(step, PostFilter | Decontaminate):
            step.only_measures = sample is not None
    yield FilterChain([step for step in steps if isinstance(step, PostFilter)], work.counts)
    yield from (Counted(step.name, step, work.counts) for step in steps if isinstance(step, Decontaminate))
