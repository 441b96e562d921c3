"""What `redone prepare-sft` and `redone prepare-preferences` share: sources to datasets of ids and masks.

Every source becomes OUTPUT_DIR/NAME.* and, where something is held out, NAME.validation.*. The manifest
of NAME comes last and holds the hash of all that it was made from: a run that was killed goes on with
the sources that are not complete, and the same call again does nothing.
"""

import dataclasses
import enum
import hashlib
import itertools
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from megatron_redone.config.schema import plain, work_hash
from megatron_redone.curation.chats.chat_batches import EncodedBatch, RawChats, Tally, parsed
from megatron_redone.curation.chats.chat_data import ChatData, SourceFacts, SourcePlan
from megatron_redone.curation.chats.chat_report import log_table, write_listing
from megatron_redone.curation.chats.chat_source_writer import SourceWriter
from megatron_redone.errors import UserError
from megatron_redone.formats.atomic import writing_errors
from megatron_redone.formats.done_check import is_complete
from megatron_redone.formats.inputs import InputFile, expand_inputs
from megatron_redone.formats.lock import folder_lock
from megatron_redone.formats.manifest import TokenizerRecord
from megatron_redone.formats.masked_tokens import is_half_written
from megatron_redone.formats.raw_records import RawBatch, read_raw
from megatron_redone.processes.live_progress import corpus_progress
from megatron_redone.processes.ordered_pool import OrderedPool
from megatron_redone.tokenization.chat_template_file import ChatTemplateFile, find_chat_template, named_special_tokens
from megatron_redone.tokenization.chat_tokenizer import ChatTokenizer, tokenizer_file
from megatron_redone.tokenization.template_variables import template_record
from megatron_redone.tokenization.tokenizer import Tokenizer

log = logging.getLogger(__name__)

# Input bytes that are worth another process, whose start takes a second or two.
_BYTES_A_PROCESS = 4 << 20
# How much larger than stored a compressed or Parquet file is taken to be.
_EXPANSION = 4


@dataclass(frozen=True)
class _Run:
    """What all sources of a run have in common."""

    config: Any
    data: ChatData
    tokenizer: TokenizerRecord
    special_tokens: dict[str, str]
    template: ChatTemplateFile
    now: datetime


def prepare_sources(config: Any, data: ChatData) -> None:
    """Writes the datasets of all sources and OUTPUT_DIR/manifest.json, and tells what is in them.

    Raises:
        UserError: for anything that the user can mend: see the message.
    """
    files = [expand_inputs(source.input) for source in config.sources]
    run = _start(config, data)
    with writing_errors(config.output_dir), folder_lock(Path(config.output_dir)):
        plans = [_plan(run, number, found) for number, found in enumerate(files)]
        _prepare_all(run, [plan for plan in plans if not _is_complete(run, plan)])
        write_listing(config.output_dir, data, plans)
        log_table(data, plans)


def _start(config: Any, data: ChatData) -> _Run:
    tokenizer = Tokenizer(config.tokenizer, fast=False)
    folder = tokenizer_file(config.tokenizer.path).parent
    template = find_chat_template(folder, config.chat_template)
    now = datetime.now().replace(microsecond=0)
    if not ChatTokenizer(config.tokenizer.path, template, config.template_variables, now).turns_end:
        log.warning(
            "%s: the chat template ends the assistant's turns with no token: a model does not learn from it to stop",
            template.origin,
        )
    record = TokenizerRecord(tokenizer.path, tokenizer.fingerprint(), tokenizer.vocab_size, tokenizer.eod_id)
    return _Run(config, data, record, named_special_tokens(folder), template, now)


def _plan(run: _Run, number: int, files: list[InputFile]) -> SourcePlan:
    source = run.config.sources[number]
    work = work_hash(
        dataclasses.replace(run.config, sources=[source]),
        [run.data.stage, [dataclasses.astuple(file) for file in files]],
        [run.tokenizer.fingerprint, run.special_tokens, run.template.text, run.template.with_tools],
    )
    return SourcePlan(number, source, files, os.path.join(run.config.output_dir, source.name), work)


def _is_complete(run: _Run, plan: SourcePlan) -> bool:
    """Whether a source's datasets are there already, made from the same things; refuses to replace others."""
    finished = plan.finished()
    index = Path(f"{plan.prefix}.idx")
    # With masks and no manifest it is what a killed run left, and is written anew.
    if finished is None and index.exists() and not is_half_written(plan.prefix) and not run.config.overwrite:
        raise UserError(
            f"{index}: a dataset without a manifest is there; choose another output_dir, or set overwrite=true"
        )
    return is_complete(finished, plan.work, overwrite=run.config.overwrite, place=plan.prefix)


def _prepare_all(run: _Run, pending: Sequence[SourcePlan]) -> None:
    if not pending:
        return
    size = sum(file.size * (1 if file.is_splittable else _EXPANSION) for plan in pending for file in plan.files)
    processes = run.config.workers or max(1, min(os.cpu_count() or 1, size // _BYTES_A_PROCESS))
    counters = [0, 0, 0]
    with (
        OrderedPool[RawChats, EncodedBatch](processes, run.data.build, run.config, run.template, run.now) as pool,
        corpus_progress(size, counters),
    ):
        for plan in pending:
            _prepare(run, plan, pool, counters)


def _prepare(
    run: _Run,
    plan: SourcePlan,
    pool: OrderedPool[RawChats, EncodedBatch],
    counters: list[int],
) -> None:
    """Writes the datasets of one source, or nothing of them."""
    with SourceWriter(run.data, plan, run.tokenizer.vocab_size, run.config.max_invalid) as writer:
        for chats, encoded in pool.map(_work(run.data, plan, run.config.max_record_mb << 20)):
            writer.add(encoded, chats.format)
            counters[0] += sum(len(record.json) for record in chats.batch.records)
            counters[1] += len(encoded.items)
            counters[2] += sum(len(item.tokens) for item in encoded.items)
        writer.finish(_facts(run, plan, writer.tally))


def _work(data: ChatData, plan: SourcePlan, most_bytes: int) -> Iterator[RawChats]:
    """The records of a source, each batch with the format of its file."""
    for file in plan.files:
        format: enum.Enum | None = None
        for batch in read_raw(file, most_bytes):
            if format is None:
                format = _format(data, plan, batch)
            yield RawChats(plan.number, format, batch)


def _format(data: ChatData, plan: SourcePlan, batch: RawBatch) -> enum.Enum | None:
    """The format that the configuration names, or that of the first record that has one.

    None where not one of the records is a JSON object.
    """
    if plan.source.format.name != "auto":
        return plan.source.format
    found = next((f for record in parsed(batch) if (f := data.recognise(record, plan.source)) is not None), None)
    first = next(parsed(batch), None) if found is None else None
    if first is not None:
        keys = ", ".join(itertools.islice(first, 12))
        raise UserError(
            f"source {plan.source.name}: {batch.file}: its records have no format that is known (keys: {keys}); "
            f"{data.format_advice}"
        )
    return found


def _facts(run: _Run, plan: SourcePlan, tally: Tally) -> SourceFacts:
    return SourceFacts(
        source=plan.source.name,
        capability=plan.source.capability,
        tokenizer=run.tokenizer,
        record_formats=dict(tally.formats),
        chat_template_sha256=hashlib.sha256(run.template.text.encode()).hexdigest(),
        chat_template=template_record(run.template, plain(run.config)["template_variables"], run.special_tokens),
        rendered_at=run.now.isoformat(),
        inputs=plan.files,
        work=plan.work,
        config=plain(run.config),
    )
