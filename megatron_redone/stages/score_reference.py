"""`redone score-reference`: log-probabilities of both responses of every pair under the reference model, once.

To be started by torchrun, or alone for one process. A run that was killed goes on where it last saved.
"""

import dataclasses
import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from megatron_redone.architectures import Architecture, read_architecture
from megatron_redone.config.data import DataSource
from megatron_redone.config.model import Backend
from megatron_redone.config.score_reference import ScoreReferenceConfig
from megatron_redone.datasets.batch_slice import BatchSlice
from megatron_redone.datasets.pair_rows import RowPlan
from megatron_redone.datasets.preference_pairs import PairStream
from megatron_redone.distributed import ParallelContext, destroy_context, start_context
from megatron_redone.distributed.collectives import broadcast_from_main, errors_stop_all_ranks
from megatron_redone.errors import UserError
from megatron_redone.formats.preferences import PreferenceDataset
from megatron_redone.formats.reference_scores import (
    ReferenceScores,
    check_reference,
    read_reference,
    reference_path,
    write_reference,
)
from megatron_redone.formats.weights_fingerprint import weights_fingerprint
from megatron_redone.models.build import Model, build_model
from megatron_redone.models.parallel_sizes import check_parallel_sizes
from megatron_redone.models.precision import resolve_precision
from megatron_redone.objectives.response_scores import score_pairs
from megatron_redone.training.initial_weights import InitialWeights, find_initial_weights
from megatron_redone.training.model_vocabulary import find_tokenizer, model_vocabulary

log = logging.getLogger(__name__)

_LENGTH_UNIT = 64


@dataclass(frozen=True, kw_only=True)
class _Work:
    """One dataset, and what is known of it."""

    name: str
    path: Path
    stream: PairStream
    scores: ReferenceScores
    batch_slice: BatchSlice
    plan: RowPlan


@dataclass(frozen=True, kw_only=True)
class _Inputs:
    architecture: Architecture
    initial: InitialWeights
    work: list[_Work]


def run(config: ScoreReferenceConfig) -> None:
    """Writes a file of scores for every dataset.

    Raises:
        UserError: in a run of one process, for anything that the user can fix.
        SystemExit: the same where there are more.
    """
    context = start_context(config.parallel, config.device)
    if not context.is_main:
        logging.getLogger("megatron_redone").setLevel(logging.ERROR)
    model = broadcast_from_main(resolve_precision(config.model, context.device))
    config = dataclasses.replace(config, model=model)
    with errors_stop_all_ranks():
        inputs = _read_inputs(config, context)
    pending = [work for work in inputs.work if not work.scores.is_complete]
    for work in inputs.work:
        if work.scores.is_complete:
            log.info("%s: complete already, nothing to do", work.path)
    if pending:
        model = _build(config, context, inputs)
        for work in pending:
            _score(config, context, model, work)
    destroy_context()


def _read_inputs(config: ScoreReferenceConfig, context: ParallelContext) -> _Inputs:
    initial = find_initial_weights(config.init_from)
    architecture = read_architecture(initial.config_json)
    vocabulary = model_vocabulary(architecture, find_tokenizer(config.tokenizer, initial.config_json))
    model = weights_fingerprint(initial.folder)
    slice_size = config.micro_batch_size * context.data_size
    batch_slice = BatchSlice(
        global_batch_size=-(-config.batch_size // slice_size) * slice_size,
        micro_batch_size=config.micro_batch_size,
        data_parallel_size=context.data_size,
        data_parallel_rank=context.data_rank,
    )
    work = []
    for source in config.data:
        length = config.seq_length or _longest_pair(config, source)
        check_parallel_sizes(architecture, config.parallel, length)
        stream = PairStream(source.path, seq_length=length, share_prompt=config.share_prompt, vocabulary=vocabulary)
        if stream.dropped:
            raise UserError(
                f"seq_length: {stream.dropped:,} pairs of {source.path} are longer than {length:,}; all are "
                "to be scored, leave it null to take the longest"
            )
        path = reference_path(source.path, source.label, config.output_dir)
        scores = _begun(path, stream, model)
        plan = RowPlan(length, config.parallel)
        work.append(
            _Work(name=source.label, path=path, stream=stream, scores=scores, batch_slice=batch_slice, plan=plan)
        )
    return _Inputs(architecture=architecture, initial=initial, work=work)


def _longest_pair(config: ScoreReferenceConfig, source: DataSource) -> int:
    dataset = PreferenceDataset.open(source.path)
    longest = int(dataset.lengths.astype(np.int64).sum(1).max())
    dataset.close()
    parallel = config.parallel
    unit = int(np.lcm(_LENGTH_UNIT, 2 * parallel.context_parallel_size * parallel.tensor_model_parallel_size))
    return -(-longest // unit) * unit


def _begun(path: Path, stream: PairStream, model: str) -> ReferenceScores:
    """What an earlier run has left of the same work; else nothing done."""
    found = read_reference(path)
    if found is not None and (found.data, found.model, len(found.sums)) == (stream.digest, model, stream.pairs):
        return found
    if found is not None:
        log.warning("%s: scores of other data or another model, written anew", path)
    return ReferenceScores(
        data=stream.digest,
        model=model,
        done=0,
        sums=np.full((stream.pairs, 2), np.nan, np.float32),
        lengths=np.zeros((stream.pairs, 2), np.int32),
    )


def _build(config: ScoreReferenceConfig, context: ParallelContext, inputs: _Inputs) -> Model:
    model = build_model(inputs.architecture, config.model, context, seed=None)
    with errors_stop_all_ranks():
        if config.share_prompt and model.backend is Backend.transformer_engine:
            raise UserError("share_prompt: needs model.backend=torch")
    inputs.initial.fill(model)
    for chunk in model.chunks:
        chunk.eval()
    return model


def _score(config: ScoreReferenceConfig, context: ParallelContext, model: Model, work: _Work) -> None:
    """Scores what is left of a dataset, a batch at a time, and saves every so often."""
    sums, lengths = work.scores.sums.copy(), work.scores.lengths.copy()
    first = broadcast_from_main(work.scores.done)
    if first:
        log.info("%s: going on after %d of %d pairs", work.path, first, work.stream.pairs)
    begin, began, saved = time.monotonic(), first, first
    while first < work.stream.pairs:
        last = min(first + work.batch_slice.global_batch_size, work.stream.pairs)
        with errors_stop_all_ranks():
            samples = [(work.stream, number) for number in range(first, last)]
            micro_batches = list(work.plan(samples, work.batch_slice))
        found = score_pairs(model.chunks, model.row_placer, micro_batches, first, last - first)
        sums[first:last], lengths[first:last] = found[0].numpy(), found[1].numpy()
        first = last
        if first - saved >= config.save_every or first == work.stream.pairs:
            saved = first
            _save(context, work, ReferenceScores(
                data=work.scores.data, model=work.scores.model, done=first, sums=sums, lengths=lengths))  # fmt: skip
            rate = (first - began) / max(time.monotonic() - begin, 1e-9)
            log.info("%s: %d of %d pairs, %.1f pairs/s", work.name, first, work.stream.pairs, rate)


def _save(context: ParallelContext, work: _Work, scores: ReferenceScores) -> None:
    with errors_stop_all_ranks():
        if not context.is_main:
            return
        try:
            write_reference(work.path, scores)
        except OSError as error:
            raise UserError(f"{work.path}: cannot be written ({error.strerror})") from None
        if scores.is_complete:
            # What is not a number here would train silently into nonsense.
            check_reference(work.path, scores, scores.data, work.stream.pairs, scores.model)
