"""`redone tokenize`: raw JSONL or Parquet to a Megatron indexed dataset.

The input is cut into shards; processes encode them and leave done-markers in PREFIX.work, so that a
killed run goes on where it was; then the shards become one dataset. The bytes depend on the input
and the settings alone, not on the number of processes or on interruptions.
"""

import dataclasses
import fcntl
import json
import logging
import multiprocessing
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from megatron_redone import __version__
from megatron_redone.config.schema import config_hash, plain, work_hash
from megatron_redone.config.tokenize import TokenizeConfig
from megatron_redone.errors import UserError
from megatron_redone.formats.atomic import write_json
from megatron_redone.formats.indexed import DatasetPaths, DatasetSummary, token_dtype
from megatron_redone.formats.inputs import InputFile, expand_inputs
from megatron_redone.formats.manifest import (
    Counts,
    FileRecord,
    Manifest,
    TokenizerRecord,
    manifest_path,
    read_manifest,
    write_manifest,
)
from megatron_redone.processes.corpus_progress import CorpusProgress
from megatron_redone.tokenization.merge import merge_rejected, merge_shards
from megatron_redone.tokenization.shard import ShardFiles, ShardResult, encode_shard, start_worker
from megatron_redone.tokenization.shard_plan import Shard, plan_shards
from megatron_redone.tokenization.shuffle import bucket_count
from megatron_redone.tokenization.tokenizer import Tokenizer

log = logging.getLogger(__name__)

# Records after which the share of refused ones is looked at while the run goes on.
_EARLY_CHECK = 10_000
# How much larger than stored a compressed or Parquet file is taken to be.
_EXPANSION = 4


def run(config: TokenizeConfig) -> None:
    """Writes PREFIX.bin, .idx, .manifest.json and, where records were refused, .rejected.jsonl.

    Raises:
        UserError: for anything that the user can mend: see the message.
    """
    files = expand_inputs(config.input)
    tokenizer = Tokenizer(config.tokenizer, fast=False)
    if config.append_eod and tokenizer.eod_id is None:
        raise UserError(f"{config.tokenizer.path}: no end-of-document token found; set tokenizer.eod_token")
    work = work_hash(config, [dataclasses.astuple(file) for file in files], tokenizer.fingerprint())
    if _is_complete(config, work):
        log.info("%s: complete already, nothing to do", config.output_prefix)
        return
    folder = Path(f"{config.output_prefix}.work")
    with _lock(folder):
        shards = plan_shards(files, config.shard_mb << 20)
        _open_work(folder, work)
        results = _encode(config, folder, shards, _buckets(config, files))
        _write_dataset(config, files, tokenizer, work, folder, shards, results)
    shutil.rmtree(folder)


def _is_complete(config: TokenizeConfig, work: str) -> bool:
    """Whether the dataset is there already, made from the same things; refuses to replace another."""
    manifest = read_manifest(config.output_prefix)
    if manifest is not None and manifest["work"] == work:
        return True
    present = manifest is not None or DatasetPaths.of(config.output_prefix).idx.exists()
    if present and not config.overwrite:
        raise UserError(
            f"{config.output_prefix}: a dataset made from other input or settings is there; "
            "choose another output_prefix, or set overwrite=true"
        )
    return False


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Keeps a second run away from the same dataset; the system lets go when the process ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output_prefix: {folder.parent} cannot be written to ({error.strerror})") from None
    with open(folder / "lock", "w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{folder}: another run is writing this dataset") from None
        yield


def _open_work(folder: Path, work: str) -> None:
    """Keeps the shards of an interrupted run of the same work, and removes those of any other."""
    plan = folder / "plan.json"
    if plan.is_file() and json.loads(plan.read_text())["work"] == work:
        return
    for path in folder.glob("shard-*"):
        path.unlink()
    write_json(plan, {"work": work})


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
    context = multiprocessing.get_context("spawn")
    counters = context.Array("q", 3)
    workers = min(config.workers or os.cpu_count() or 1, max(1, len(pending)))
    pool = ProcessPoolExecutor(workers, context, start_worker, (config, folder, buckets, counters))
    futures: set[Future[ShardResult | str]] = set()
    try:
        with CorpusProgress(sum(shard.size for shard in pending), counters) as progress:
            futures = {pool.submit(encode_shard, shard) for shard in pending}
            while futures:
                done, futures = wait(futures, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in done:
                    result = _result(future)
                    results[result.number] = result
                    _check_rejected(config, folder, results.values(), least=_EARLY_CHECK)
                progress.refresh()
    finally:
        if futures:  # an error or an interrupt must not wait for the shards that are being encoded
            for process in multiprocessing.active_children():
                process.terminate()
        with suppress(OSError):  # the pool's own pipes, whose other ends have just been terminated
            pool.shutdown(cancel_futures=True)
    ordered = [results[shard.number] for shard in shards]
    _check_rejected(config, folder, ordered, least=0)
    return ordered


def _result(future: "Future[ShardResult | str]") -> ShardResult:
    try:
        result = future.result()
    except BrokenProcessPool:
        raise UserError(
            "a worker process was killed, perhaps for want of memory; "
            "run the same command again, it goes on where it was (fewer workers need less memory)"
        ) from None
    if isinstance(result, str):
        raise UserError(result)
    return result


def _check_rejected(config: TokenizeConfig, folder: Path, results: Any, least: int) -> None:
    records = sum(sum(result.records) for result in results)
    rejected = sum(result.rejected for result in results)
    if records >= least and rejected > config.max_rejected * records:
        raise UserError(
            f"{rejected:,} of {records:,} records are malformed, more than max_rejected={config.max_rejected:g}; "
            f"they are in {folder}/*.rejected.jsonl with their reasons"
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
    reasons = merge_rejected(_rejected_path(config), shards, results, names)
    counts = Counts(
        records=sum(sum(result.records) for result in results),
        documents=summary.documents,
        tokens=summary.tokens,
        rejected=sum(reasons.values()),
        rejected_by_reason=reasons,
    )
    assert counts.records == counts.documents + counts.rejected, "records do not add up"
    slow = Counter(result.slow_because for result in results if result.slow_because is not None)
    manifest = Manifest(
        work=work,
        config=plain(config),
        config_hash=config_hash(config),
        inputs=files,
        tokenizer=_tokenizer_record(tokenizer),
        dtype=dtype.name,
        counts=counts,
        **_file_records(config.output_prefix, summary),
        encoded_by={"gigatoken": len(results) - sum(slow.values()), "reference": sum(slow.values())},
        version=__version__,
    )
    write_manifest(config.output_prefix, manifest)
    _report(config, manifest, slow)


def _tokenizer_record(tokenizer: Tokenizer) -> TokenizerRecord:
    return TokenizerRecord(tokenizer.path, tokenizer.fingerprint(), tokenizer.vocab_size, tokenizer.eod_id)


def _file_records(prefix: str, summary: DatasetSummary) -> dict[str, FileRecord]:
    paths = DatasetPaths.of(prefix)
    assert summary.bin_sha256 and summary.idx_sha256
    return {
        "bin": FileRecord(paths.bin.stat().st_size, summary.bin_sha256),
        "idx": FileRecord(paths.idx.stat().st_size, summary.idx_sha256),
    }


def _rejected_path(config: TokenizeConfig) -> Path:
    return Path(f"{config.output_prefix}.rejected.jsonl")


def _report(config: TokenizeConfig, manifest: Manifest, slow: "Counter[str]") -> None:
    counts = manifest.counts
    for reason, shards in slow.items():
        log.warning("slower than it could be: %d shards without the fast path (%s)", shards, reason)
    if counts.rejected:
        log.warning("%s records refused, listed in %s:", f"{counts.rejected:,}", _rejected_path(config))
        for reason, number in counts.rejected_by_reason.items():
            log.warning("  %s  %s", f"{number:>10,}", reason)
    log.info(
        "%s: %s documents, %s tokens (%s)",
        config.output_prefix,
        f"{counts.documents:,}",
        f"{counts.tokens:,}",
        manifest.dtype,
    )
