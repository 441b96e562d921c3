"""From a checkpoint of any layout to a Hugging Face directory, in one process and little memory."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from megatron_redone.architectures import read_architecture
from megatron_redone.architectures.weights import HFTensor, family_tensors, full_weights
from megatron_redone.conversion.hf_files import write_hf_files
from megatron_redone.conversion.hf_writer import PlannedTensor, ShardWriter, assign_to_files, write_index
from megatron_redone.conversion.mcore_reader import CheckpointWeights
from megatron_redone.conversion.rounded_weights import Rounding, make_rounding, open_weights
from megatron_redone.conversion.row_blocks import row_blocks
from megatron_redone.formats.atomic import atomic_folder
from megatron_redone.formats.hf_folder import write_hf_checksums

log = logging.getLogger(__name__)


def export_checkpoint(
    checkpoint: Path,
    hf_files: Path,
    output: Path,
    *,
    dtype: torch.dtype | None,
    stochastic: bool,
    seed: int,
    max_shard_size: int,
    end_tokens: Sequence[str],
    overwrite: bool,
) -> None:
    """Writes a Hugging Face directory.

    Args:
        checkpoint: A megatron-core distributed checkpoint.
        hf_files: The folder with the model's config.json and tokenizer.
        output: The directory that appears when all is written.
        dtype: Of all weights; None keeps what the checkpoint has.
        stochastic: Whether fp32 weights are rounded to bf16 by chance, and not to the nearest.
        seed: Of stochastic rounding.
        max_shard_size: Bytes of one safetensors file.
        end_tokens: Tokens that end an answer, besides those that the model has already.
        overwrite: Replace what is at `output`.

    Raises:
        UserError: the checkpoint does not hold exactly the weights of the model, or the disk is full.
    """
    architecture = read_architecture(hf_files)
    weights = open_weights(checkpoint, dtype)
    rounding = make_rounding(weights, dtype, stochastic, seed)
    weights.check(full_weights(architecture))
    tensors = {tensor.name: tensor for tensor in family_tensors(architecture)}
    planned = [PlannedTensor(name, t.shape, dtype or weights.dtype(t.weight.key)) for name, t in tensors.items()]
    shards = assign_to_files(planned, max_shard_size)
    with atomic_folder(output, overwrite=overwrite) as folder:
        # What is small goes first: a mistake in it must not be found after an hour.
        write_hf_files(hf_files, folder, architecture, planned[0].dtype, end_tokens)
        checksums = {}
        for file, shard in shards.items():
            checksums[file] = ShardWriter(folder / file, shard).write(_blocks(shard, tensors, weights, rounding))
            log.info("%s: %d tensors", file, len(shard))
        write_index(folder, shards)
        write_hf_checksums(folder, checksums)


def _blocks(
    shard: list[PlannedTensor], tensors: dict[str, HFTensor], weights: CheckpointWeights, rounding: Rounding
) -> Iterator[torch.Tensor]:
    for planned in shard:
        tensor = tensors[planned.name]
        for start, stop in tensor.ranges:
            for first, last in row_blocks(start, stop, tensor.weight.columns):
                yield rounding(tensor.weight.key, first, weights.read(tensor.weight.key, first, last))
