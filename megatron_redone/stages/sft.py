"""`redone sft`: supervised fine-tuning on packed conversations, on any parallel layout.

The two steps of a recipe are two calls: the second has `init_from` the first, and another blend. To be started
by torchrun, or alone for one process.
"""

from typing import Any

from megatron_redone.batches.row_placer import RowPlacer
from megatron_redone.config.sft import SftConfig
from megatron_redone.datasets.batch_reader import BatchReader
from megatron_redone.datasets.batch_slice import BatchSlice
from megatron_redone.datasets.blend import Blend
from megatron_redone.datasets.packed_rows import (
    PackedRows,
    open_packed_blend,
    open_packed_validation,
    packed_collate,
)
from megatron_redone.datasets.vocabulary import Vocabulary
from megatron_redone.objectives.language_modelling import LanguageModelling
from megatron_redone.training.run_inputs import RunData
from megatron_redone.training.setup import run_training


def run(config: SftConfig) -> None:
    """Trains, and leaves checkpoints, metrics.jsonl and config.yaml in `output_dir`; see `run_training`."""
    run_training(config, _open_data, _make_objective)


def _open_data(config: SftConfig, batch_slice: BatchSlice, vocabulary: Vocabulary) -> RunData:
    blend = open_packed_blend(config.data, vocabulary)
    collate = packed_collate(config.parallel)
    return RunData(
        reader=BatchReader(blend, batch_slice, collate),
        progress=blend.progress,
        validation=open_packed_validation(config.data, collate, vocabulary),
        identity=_identity(config, blend),
        train_steps=config.training.steps(config.data.seq_length, blend.samples_per_epoch),
        packed=True,
        lengths_vary=config.parallel.context_parallel_size > 1,  # segments are padded for it
        chat_template_of=config.data.chat_template_of,
        description=[f"{name}: {rows.describe()}" for name, rows in zip(blend.names, blend.streams, strict=True)],
    )


def _make_objective(_: SftConfig, row_placer: RowPlacer) -> LanguageModelling:
    return LanguageModelling(row_placer)


def _identity(config: SftConfig, blend: Blend[PackedRows]) -> dict[str, Any]:
    return {
        "seq_length": config.data.seq_length,
        "too_long": config.data.too_long.name,
        "shuffle": config.data.shuffle,
        "seed": config.data.seed,
        "blend": [
            {
                "name": source.name,
                "share": round(source.fraction, 12),
                "rows": rows.samples_per_epoch,
                "data": rows.digest,
            }
            for source, rows in zip(blend.progress(0), blend.streams, strict=True)
        ],
    }
