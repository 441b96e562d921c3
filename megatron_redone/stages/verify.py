"""`redone verify`: a checkpoint on any layout against transformers on real text. Started by torchrun, or alone."""

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from megatron_redone.architectures import Architecture
from megatron_redone.batches.micro_batch import MicroBatch
from megatron_redone.checkpoint.checksums import read_checksums
from megatron_redone.checkpoint.locate import find_checkpoint
from megatron_redone.config.model import ModelConfig
from megatron_redone.config.tokenizer import TokenizerConfig
from megatron_redone.config.verify import VerifyConfig
from megatron_redone.conversion.logit_comparison import LogitComparison, Reference
from megatron_redone.conversion.mcore_reader import CheckpointWeights
from megatron_redone.conversion.sample_text import SAMPLE_TEXT
from megatron_redone.conversion.weight_comparison import WeightDifference, compare_weights
from megatron_redone.datasets.collating import micro_batch_multiple
from megatron_redone.datasets.token_rows import whole_rows
from megatron_redone.datasets.vocabulary import Vocabulary
from megatron_redone.distributed import ParallelContext, destroy_context, start_context
from megatron_redone.distributed.collectives import broadcast_from_last, broadcast_from_main, errors_stop_all_ranks
from megatron_redone.errors import UserError
from megatron_redone.formats.deep_check import check_dataset
from megatron_redone.formats.folder_checksums import FolderChecksums
from megatron_redone.formats.hf_folder import find_hf_folder, read_hf_checksums
from megatron_redone.formats.indexed import DatasetPaths
from megatron_redone.generation.model_files import load_causal_lm
from megatron_redone.generation.placement import Placement
from megatron_redone.model_folders import HFWeights, open_model_folder
from megatron_redone.models.build import build_model
from megatron_redone.models.parallel_sizes import check_parallel_sizes
from megatron_redone.models.transformer_config import DTYPES
from megatron_redone.tokenization.tokenizer import Tokenizer
from megatron_redone.training.initial_weights import InitialWeights
from megatron_redone.training.train_step import evaluate_step
from megatron_redone.training.validation_losses import (
    ValidationLosses,
    ValidationRows,
    open_validation,
    validation_losses,
)

log = logging.getLogger(__name__)

_LARGEST_TOKEN = 64  # bytes of text that are read for each token wanted


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was found.

    Attributes:
        tokens: How many were compared.
        largest_difference: Of two logits.
        hf_perplexity: As transformers computes it.
        perplexity: As this project does.
        weights: What differs in the weights; None where there is no checkpoint.
        losses: On the run's validation rows, where they were asked for.
    """

    tokens: int
    largest_difference: float
    hf_perplexity: float
    perplexity: float
    weights: WeightDifference | None
    losses: list[ValidationLosses]


@dataclass(frozen=True, kw_only=True)
class _Inputs:
    hf: Path
    weights: HFWeights
    architecture: Architecture
    source: InitialWeights
    micro_batches: list[MicroBatch]
    validation: ValidationRows | None


def run(config: VerifyConfig) -> None:
    """Compares and logs.

    Raises:
        UserError: in a run of one process, for anything that the user can fix, and for a difference above `tolerance`.
        SystemExit: the same where there are more.
    """
    if config.hf is None:
        _check_at_rest(config)
        return
    context = start_context(config.parallel, config.device)
    if not context.is_main:
        logging.getLogger("megatron_redone").setLevel(logging.ERROR)
    found = verify(config, context)
    _log(found)
    with errors_stop_all_ranks():
        if config.tolerance is not None and not found.largest_difference <= config.tolerance:
            raise UserError(f"logits differ by {found.largest_difference:.3g}, more than tolerance {config.tolerance}")
    destroy_context()


def verify(config: VerifyConfig, context: ParallelContext) -> Verification:
    """Compares, on a layout that is started; the result is the same on every rank."""
    with errors_stop_all_ranks():
        inputs = _read_inputs(config, context)
    model = build_model(
        inputs.architecture,
        ModelConfig(hf_config=str(inputs.hf), backend=config.backend, precision=config.precision),
        context,
        seed=None,
    )
    inputs.source.fill(model)
    with errors_stop_all_ranks():
        reference = _load_reference(inputs.hf, config, context.device) if _holds_reference(context) else None
    for chunk in model.chunks:
        chunk.eval()
    comparison = LogitComparison(model.row_placer, inputs.architecture.vocab_size, reference)
    losses, tokens = evaluate_step(model.chunks, comparison, inputs.micro_batches)
    largest = broadcast_from_last(comparison.largest, context.groups.pp)
    validated = []
    if inputs.validation is not None:
        exported = InitialWeights(folder=inputs.hf, of_run=False, hf=inputs.weights)
        validated = validation_losses(model, inputs.source, exported, inputs.validation)
    with errors_stop_all_ranks():
        weights = _compare_weights(inputs) if context.is_main else None
    return broadcast_from_main(
        Verification(
            tokens=int(tokens["model"]),
            largest_difference=largest,
            hf_perplexity=math.exp(losses["reference"]),
            perplexity=math.exp(losses["model"]),
            weights=weights,
            losses=validated,
        )
    )


def _check_at_rest(config: VerifyConfig) -> None:
    """Compares every byte of a checkpoint, a dataset or an export with its checksums, and logs.

    Raises:
        UserError: naming what is damaged, or there are no checksums.
    """
    if config.dataset is not None:
        place = str(DatasetPaths.of(config.dataset).bin.with_name(DatasetPaths.of(config.dataset).bin.name[:-4]))
        checked = check_dataset(Path(place))
        if not checked.has_checksums:
            raise UserError(f"{place}: consistent, but it has no checksums, so no more can be said")
        if checked.lacks is not None:
            log.info("%s: there is none, so no reference scores are compared", checked.lacks)
        size = checked.size
    else:
        place, checksums = _checksums_of_folder(config)
        if not checksums.files:
            raise UserError(f"{place}: has no checksums, so nothing can be said; compare it with a model by hf=")
        size = checksums.check_all()
    log.info("%s: %s bytes, all as they were written", place, f"{size:,}")


def _checksums_of_folder(config: VerifyConfig) -> tuple[Path, FolderChecksums]:
    if config.export is not None:
        return Path(config.export), read_hf_checksums(find_hf_folder(config.export))
    assert config.checkpoint is not None
    checkpoint = find_checkpoint(Path(config.checkpoint))
    return checkpoint, read_checksums(checkpoint)


def _holds_reference(context: ParallelContext) -> bool:
    """Whether this is the rank that holds transformers' model: one of the last stage, where logits are."""
    return context.is_last_stage and context.tensor_rank == context.context_rank == context.data_rank == 0


def _read_inputs(config: VerifyConfig, context: ParallelContext) -> _Inputs:
    assert config.hf is not None
    hf = find_hf_folder(config.hf)
    architecture, weights = open_model_folder(hf)
    check_parallel_sizes(architecture, config.parallel, config.seq_length)
    micro_batches = _micro_batches(config, hf)
    for batch in micro_batches:
        Vocabulary(size=architecture.vocab_size).check_ids(
            batch.tokens.flatten().numpy(), lambda at: f"{hf}: token {at} of a row"
        )
    source = InitialWeights(folder=hf, of_run=False, hf=weights)
    if config.checkpoint is not None:
        source = InitialWeights(folder=find_checkpoint(Path(config.checkpoint)), of_run=True)
    return _Inputs(
        hf=hf,
        weights=weights,
        architecture=architecture,
        source=source,
        micro_batches=micro_batches,
        validation=open_validation(source.folder, context) if config.validation else None,
    )


def _micro_batches(config: VerifyConfig, hf: Path) -> list[MicroBatch]:
    """Consecutive rows of the text, one a micro-batch."""
    length, multiple = config.seq_length, micro_batch_multiple(config.parallel)
    try:
        ids = Tokenizer(TokenizerConfig(path=str(hf)), fast=False).encode(_text(config))
    except UserError as error:
        raise UserError(f"hf: {error}") from None
    found = (len(ids) - 1) // length
    if found < 1:
        raise UserError(
            f"seq_length: the text has {len(ids)} tokens, fewer than one row of {length} and the next token"
        )
    count = min(config.rows, found)
    if count < multiple:
        raise UserError(
            f"rows: there are {count} ({config.rows} asked for, the text has {found}), but an interleaved pipeline of "
            f"{multiple} stages needs at least {multiple}; raise rows, or take a longer text"
        )
    count -= count % multiple
    text = np.array(ids[: count * length + 1])
    return [whole_rows([text[at : at + length + 1]]) for at in range(0, count * length, length)]


def _text(config: VerifyConfig) -> str:
    if config.text is None:
        return SAMPLE_TEXT
    try:
        with open(config.text, "rb") as stream:
            start = stream.read(_LARGEST_TOKEN * (config.rows * config.seq_length + 1))
    except OSError as error:
        raise UserError(f"text: {config.text} cannot be read ({error.strerror})") from None
    return start.decode("utf-8", errors="ignore")


def _load_reference(hf: Path, config: VerifyConfig, device: torch.device) -> Reference:
    place = Placement(device=device, dtype=DTYPES[config.precision])
    theirs = load_causal_lm(hf, place, attn_implementation="sdpa")
    return lambda tokens: theirs(tokens.to(device)).logits


def _compare_weights(inputs: _Inputs) -> WeightDifference | None:
    if not inputs.source.of_run:
        return None
    return compare_weights(CheckpointWeights(inputs.source.folder), inputs.weights, inputs.architecture)


def _log(found: Verification) -> None:
    log.info("logits: largest difference %.3g over %s tokens", found.largest_difference, f"{found.tokens:,}")
    log.info("perplexity: %.6f with transformers, %.6f here", found.hf_perplexity, found.perplexity)
    weights = found.weights
    if weights is not None and weights.first is None:
        log.info("weights: all %d tensors are equal", weights.tensors)
    elif weights is not None:
        log.info(
            "weights: %d of %d tensors differ, first %s (by up to %.3g)",
            weights.differing,
            weights.tensors,
            weights.first,
            weights.largest,
        )
    for losses in found.losses:
        main = "" if losses.main is None else f"{losses.main:.6f} of the main weights, "
        log.info(
            "validation %s: loss %s%.6f of those trained with, %.6f of hf's",
            losses.source,
            main,
            losses.trained,
            losses.exported,
        )
