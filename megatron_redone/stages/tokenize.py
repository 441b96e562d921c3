"""`redone tokenize`: raw JSONL or Parquet to a Megatron indexed dataset.

The input is cut into shards; processes encode them and leave done-markers in PREFIX.work, so that a
killed run goes on where it was; then the shards become one dataset. The bytes depend on the input
and the settings alone, not on the number of processes or on interruptions.
"""

import dataclasses
import logging
import multiprocessing
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from megatron_redone import __version__
from megatron_redone.config.schema import config_hash, plain, work_hash
from megatron_redone.config.tokenize import TokenizeConfig
from megatron_redone.errors import UserError
from megatron_redone.formats.atomic import writing_errors
from megatron_redone.formats.done_check import is_complete, read_sealed, write_sealed
from megatron_redone.formats.file_record import record_file
from megatron_redone.formats.indexed import DatasetPaths, token_dtype
from megatron_redone.formats.input_records import invalid_path
from megatron_redone.formats.inputs import InputFile, expand_inputs
from megatron_redone.formats.lock import folder_lock
from megatron_redone.formats.manifest import (
    Counts,
    Manifest,
    TokenizerRecord,
    finished_dataset,
    manifest_path,
    write_manifest,
)
from megatron_redone.processes.live_progress import corpus_progress
from megatron_redone.processes.ordered_pool import OrderedPool
from megatron_redone.tokenization.merge import merge_invalid, merge_shards
from megatron_redone.tokenization.shard import ShardFiles, ShardResult, shard_encoder
from megatron_redone.tokenization.shard_plan import Shard, plan_shards
from megatron_redone.tokenization.shuffle import bucket_count
from megatron_redone.tokenization.tokenizer import Tokenizer

log = logging.getLogger(__name__)

# Records after which the fraction of invalid ones is looked at while the run goes on.
_EARLY_CHECK = 10_000
_PLAN = "plan.json"
# How much larger than stored a compressed or Parquet file is taken to be.
_EXPANSION = 4


def run(config: TokenizeConfig) -> None:
    """Writes PREFIX.bin, .idx, .manifest.json and, where records are invalid, .invalid.jsonl.

    Raises:
        UserError: for anything that the user can mend: see the message.
    """
    files = expand_inputs(config.input)
    tokenizer = Tokenizer(config.tokenizer, fast=False)
    if config.append_eod and tokenizer.eod_id is None:
        raise UserError(f"{config.tokenizer.path}: no end-of-document token found; set tokenizer.eod_token")
    work = work_hash(config, [dataclasses.astuple(file) for file in files], tokenizer.fingerprint())
    if _is_complete(config, work):
        return
    folder = Path(f"{config.output_prefix}.work")
    with writing_errors(config.output_prefix), folder_lock(folder, "output_prefix"):
        shards = plan_shards(files, config.shard_mb << 20)
        _open_work(folder, work)
        results = _encode(config, folder, shards, _buckets(config, files))
        _write_dataset(config, files, tokenizer, work, folder, shards, results)
        shutil.rmtree(folder)


def _is_complete(config: TokenizeConfig, work: str) -> bool:
    """Whether the dataset is there already, made from the same things; refuses to replace another."""
    prefix = config.output_prefix
    finished = finished_dataset(prefix)
    index = DatasetPaths.of(prefix).idx
    if finished is None and index.exists() and not config.overwrite and not _is_plan_of(Path(f"{prefix}.work"), work):
        raise UserError(
            f"{index}: a dataset without a manifest is there; choose another output_prefix, or set overwrite=true"
        )
    return is_complete(finished, work, overwrite=config.overwrite, place=prefix, key="output_prefix")


def _is_plan_of(folder: Path, work: str) -> bool:
    """Whether a work folder is of this work, interrupted."""
    plan, is_intact = read_sealed(folder / _PLAN)
    return plan is not None and is_intact and plan.get("work") == work


def _open_work(folder: Path, work: str) -> None:
    """Keeps the shards of an interrupted run of the same work, and removes those of any other."""
    if _is_plan_of(folder, work):
        return
    for path in folder.glob("shard-*"):
        path.unlink()
    write_sealed(folder / _PLAN, {"work": work})


def _buckets(config: TokenizeConfig, files: Sequence[InputFile]) -> int:
    if not config.shuffle:
        return 0
    return bucket_count(sum(file.size * (1 if file.is_splittable else _EXPANSION) for file in files))


def _encode(config: TokenizeConfig, folder: Path, shards: list[Shard], buckets: int) -> list[ShardResult]:
    """Encodes the shards that are not done yet and returns the results of all, in order."""
    results = {s.number: r for s in shards if (r := ShardResult.read(ShardFiles.of(folder, s.number))) is not None}
    pending = [shard for shard in shards if shard.number not in results]
    if results:
        log.info("going on: %d of %d shards are done", len(results), len(shards))
    counters = multiprocessing.get_context("spawn").Array("q", 3)
    workers = min(config.workers or os.cpu_count() or 1, max(1, len(pending)))
    with (
        OrderedPool[Shard, ShardResult](workers, shard_encoder, config, folder, buckets, counters) as pool,
        corpus_progress(sum(shard.size for shard in pending), counters),
    ):
        for shard, result in pool.map(pending):
            results[shard.number] = result
            _check_invalid(config, folder, results.values(), least=_EARLY_CHECK)
    ordered = [results[shard.number] for shard in shards]
    _check_invalid(config, folder, ordered, least=0)
    return ordered


def _check_invalid(config: TokenizeConfig, folder: Path, results: Iterable[ShardResult], least: int) -> None:
    results = list(results)
    records = sum(sum(result.records) for result in results)
    invalid = sum(result.invalid for result in results)
    if records >= least and invalid > config.max_invalid * records:
        raise UserError(
            f"{invalid:,} of {records:,} records are invalid, more than max_invalid={config.max_invalid:g}; "
            f"they are in {folder}/*.invalid.jsonl with their reasons"
        )


def _write_dataset(
    config: TokenizeConfig,
    files: list[InputFile],
    tokenizer: Tokenizer,
    work: str,
    folder: Path,
    shards: list[Shard],
    results: list[ShardResult],
) -> None:
    names = [ShardFiles.of(folder, shard.number) for shard in shards]
    if not any(result.documents for result in results):
        raise UserError(f"{', '.join(config.input)}: not one record with a text under '{config.text_key}'")
    manifest_path(config.output_prefix).unlink(missing_ok=True)  # of the dataset that is being replaced
    dtype = token_dtype(tokenizer.vocab_size)
    summary = merge_shards(config.output_prefix, dtype, names, config.seed if config.shuffle else None)
    listed = invalid_path(config.output_prefix)
    reasons = merge_invalid(listed, shards, results, names)
    counts = Counts(
        records=sum(sum(result.records) for result in results),
        documents=summary.documents,
        tokens=summary.tokens,
        invalid=sum(reasons.values()),
        invalid_by_reason=reasons,
    )
    assert counts.records == counts.documents + counts.invalid, "records do not add up"
    slow = Counter(result.slow_because for result in results if result.slow_because is not None)
    manifest = Manifest(
        work=work,
        config=plain(config),
        config_hash=config_hash(config),
        inputs=files,
        tokenizer=_tokenizer_record(tokenizer),
        dtype=dtype.name,
        counts=counts,
        bin=summary.files["bin"],
        idx=summary.files["idx"],
        encoded_by={"gigatoken": len(results) - sum(slow.values()), "reference": sum(slow.values())},
        version=__version__,
        checksums=summary.checksums,
        reports={"invalid.jsonl": record_file(listed)} if reasons else {},
    )
    write_manifest(config.output_prefix, manifest)
    _report(config, manifest, slow)


def _tokenizer_record(tokenizer: Tokenizer) -> TokenizerRecord:
    return TokenizerRecord(tokenizer.path, tokenizer.fingerprint(), tokenizer.vocab_size, tokenizer.eod_id)


def _report(config: TokenizeConfig, manifest: Manifest, slow: "Counter[str]") -> None:
    counts = manifest.counts
    for reason, shards in slow.items():
        log.warning("slower than it could be: %d shards without the fast path (%s)", shards, reason)
    if counts.invalid:
        log.warning("%s records are invalid, listed in %s:", f"{counts.invalid:,}", invalid_path(config.output_prefix))
        for reason, number in counts.invalid_by_reason.items():
            log.warning("  %s  %s", f"{number:>10,}", reason)
    log.info(
        "%s: %s documents, %s tokens (%s)",
        config.output_prefix,
        f"{counts.documents:,}",
        f"{counts.tokens:,}",
        manifest.dtype,
    )
