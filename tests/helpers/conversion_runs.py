"""What ranks of the conversion tests do: take a Hugging Face directory into a model on a layout, and out again."""

from pathlib import Path
from typing import Any

import torch

from megatron_redone.architectures import read_architecture
from megatron_redone.batches.micro_batch import MicroBatch
from megatron_redone.checkpoint.checksums import write_checksums
from megatron_redone.checkpoint.record import TrainState, collect_hf_files, write_record
from megatron_redone.config.model import Backend, ModelConfig, Precision
from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.conversion.logit_comparison import LogitComparison
from megatron_redone.distributed import ParallelContext, start_context
from megatron_redone.distributed.collectives import broadcast_from_last
from megatron_redone.models.build import Model, build_model
from megatron_redone.training.initial_weights import find_initial_weights
from megatron_redone.training.model_state import weights_state
from megatron_redone.training.train_step import evaluate_step
from tests.helpers.sharded_saves import save_sharded


def _load(folder: Path, context: ParallelContext) -> Model:
    compute = ModelConfig(hf_config=str(folder), backend=Backend.torch, precision=Precision.fp32)
    model = build_model(read_architecture(folder), compute, context)
    find_initial_weights(str(folder)).fill(model)
    return model


def differences(
    folders: list[Path], parallel: dict[str, Any], batches: list[MicroBatch], expected: list[list[torch.Tensor]]
) -> list[float]:
    """For each model the largest difference of its logits from the expected ones, [B, S, V] for each batch."""
    found = []
    context = start_context(ParallelConfig(**parallel), Device.cpu)
    for folder, theirs in zip(folders, expected, strict=True):
        model = _load(folder, context)
        judges = context.is_last_stage and context.tensor_rank == 0
        answers = {
            tuple(batch.tokens.flatten().tolist()): logits for batch, logits in zip(batches, theirs, strict=True)
        }
        reference = (lambda tokens, of=answers: of[tuple(tokens.flatten().tolist())]) if judges else None
        comparison = LogitComparison(model.row_placer, model.architecture.vocab_size, reference)
        evaluate_step(model.chunks, comparison, batches)
        found.append(broadcast_from_last(comparison.largest, context.groups.pp))
    return found


def save_untrained(folders: list[Path], parallel: dict[str, Any], outputs: list[Path]) -> None:
    """A run's checkpoint of each directory's weights, without a step between."""
    context = start_context(ParallelConfig(**parallel), Device.cpu)
    for folder, output in zip(folders, outputs, strict=True):
        model = _load(folder, context)
        if context.is_main:
            output.mkdir(parents=True)
        torch.distributed.barrier()
        blocks = save_sharded(weights_state(model.chunks), output)
        if context.is_main:
            write_record(output, "", TrainState(), collect_hf_files(folder / "config.json", folder))
            write_checksums(output, blocks)
