"""The losses of a run's weights, as it trained with them and as they were exported, on its own validation rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from megatron_redone.checkpoint.record import read_config
from megatron_redone.config.loader import flat_values, load_config
from megatron_redone.config.pretrain import PretrainConfig
from megatron_redone.config.sft import SftConfig
from megatron_redone.conversion.mcore_load import load_checkpoint_weights
from megatron_redone.conversion.mcore_reader import read_main_weights
from megatron_redone.datasets.batch_slice import BatchSlice
from megatron_redone.datasets.packed_rows import open_packed_validation, packed_collate
from megatron_redone.datasets.token_rows import token_collate
from megatron_redone.datasets.token_stream import open_token_validation
from megatron_redone.datasets.validation import ValidationSet
from megatron_redone.distributed.collectives import broadcast_from_main, errors_stop_all_ranks
from megatron_redone.distributed.context import ParallelContext
from megatron_redone.errors import UserError
from megatron_redone.models.build import Model
from megatron_redone.objectives.language_modelling import LanguageModelling
from megatron_redone.training.initial_weights import InitialWeights
from megatron_redone.training.train_step import evaluate_step


@dataclass(frozen=True, kw_only=True)
class ValidationLosses:
    """The losses of one validation source, each computed in fp32.

    Attributes:
        source: Its name.
        main: Of the main weights; None where the checkpoint has none beside the weights.
        trained: Of the weights that the run computed with.
        exported: Of a Hugging Face directory.
    """

    source: str
    main: float | None
    trained: float
    exported: float


@dataclass(frozen=True, kw_only=True)
class ValidationRows:
    """The validation of a run, and how its rows are dealt out."""

    sets: Sequence[ValidationSet]
    batch_slice: BatchSlice


def open_validation(checkpoint: Path, context: ParallelContext) -> ValidationRows:
    """Opens what the run of a checkpoint was validated on.

    Raises:
        UserError: it was not validated, its data is gone, or it is a DPO run.
    """
    values = flat_values(read_config(checkpoint))
    if "loss.loss" in values:
        raise UserError(
            "validation: a DPO run has a loss of pairs, which needs its reference; leave it false, and resume the run "
            "to see its validation"
        )
    batch_slice = BatchSlice(
        global_batch_size=context.data_size,
        micro_batch_size=1,
        data_parallel_size=context.data_size,
        data_parallel_rank=context.data_rank,
    )
    file = str(checkpoint / "run" / "config.yaml")
    if "data.isolate_documents" in values:
        data = load_config(PretrainConfig, file).data
        sets = open_token_validation(data, token_collate(data, context.config))
    else:
        sft = load_config(SftConfig, file).data
        sets = open_packed_validation(sft, packed_collate(context.config))
    if not sets:
        raise UserError(f"validation: the run of {checkpoint} has no data.validation; leave it false")
    return ValidationRows(sets=sets, batch_slice=batch_slice)


def validation_losses(
    model: Model, run: InitialWeights, exported: InitialWeights, rows: ValidationRows
) -> list[ValidationLosses]:
    """Fills a model with each of the weights in turn, and measures. For all ranks.

    Args:
        model: In fp32.
        run: The checkpoint of a run.
        exported: A Hugging Face directory.
        rows: What the run was validated on.

    Raises:
        UserError: a file is damaged.
    """
    with errors_stop_all_ranks():
        held = read_main_weights(run.folder)
        if held is not None:
            load_checkpoint_weights(model.chunks, held, model.architecture, model.context)
    main = [None] * len(rows.sets) if held is None else _measure(model, rows)
    run.fill(model)
    trained = _measure(model, rows)
    exported.fill(model)
    found = [
        ValidationLosses(source=source.name, main=of_main, trained=of_trained, exported=of_exported)
        for source, of_main, of_trained, of_exported in zip(
            rows.sets, main, trained, _measure(model, rows), strict=True
        )
    ]
    return broadcast_from_main(found)


def _measure(model: Model, rows: ValidationRows) -> list[float]:
    for chunk in model.chunks:
        chunk.eval()
    losses = []
    for source in rows.sets:
        with errors_stop_all_ranks():
            micro_batches = list(source.micro_batches(rows.batch_slice))
        metrics, _ = evaluate_step(model.chunks, LanguageModelling(model.row_placer), micro_batches)
        losses.append(metrics["loss"])
    return losses
