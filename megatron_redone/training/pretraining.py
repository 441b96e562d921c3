"""Next-token training over a blend of indexed datasets: what it reads and optimises."""

import dataclasses
from typing import Any

from megatron_redone.batches.row_placer import RowPlacer
from megatron_redone.config.blend_file import read_blend
from megatron_redone.config.pretrain import PretrainConfig
from megatron_redone.datasets.batch_reader import BatchReader
from megatron_redone.datasets.batch_slice import BatchSlice
from megatron_redone.datasets.blend import Blend
from megatron_redone.datasets.token_rows import token_collate
from megatron_redone.datasets.token_stream import TokenStream, open_token_blend, open_token_validation
from megatron_redone.datasets.vocabulary import Vocabulary
from megatron_redone.metrics.progress import scaled
from megatron_redone.objectives.language_modelling import LanguageModelling
from megatron_redone.training.run_inputs import RunData
from megatron_redone.training.setup import run_training


def pretrain(config: PretrainConfig) -> None:
    """Trains, and leaves checkpoints, metrics.jsonl and config.yaml in `output_dir`; see `run_training`."""
    run_training(_with_blend(config), _open_data, _make_objective)


def _with_blend(config: PretrainConfig) -> PretrainConfig:
    """With the blend of `blend_file` in its place, so that the run's record holds what it trained on."""
    if config.data.blend_file is None:
        return config
    blend = read_blend(config.data.blend_file)
    return dataclasses.replace(config, data=dataclasses.replace(config.data, blend=blend, blend_file=None))


def _open_data(config: PretrainConfig, batch_slice: BatchSlice, vocabulary: Vocabulary) -> RunData:
    blend = open_token_blend(config.data, vocabulary)
    collate = token_collate(config.data, config.parallel)
    return RunData(
        reader=BatchReader(blend, batch_slice, collate),
        progress=blend.progress,
        validation=open_token_validation(config.data, collate, vocabulary),
        identity=_identity(config, blend),
        train_steps=config.training.steps(config.data.seq_length, blend.samples_per_epoch),
        packed=config.data.isolate_documents,
        lengths_vary=config.data.isolate_documents and config.parallel.context_parallel_size > 1,
        description=[
            f"{name}: {scaled(stream.token_count)} tokens"
            for name, stream in zip(blend.names, blend.streams, strict=True)
        ],
    )


def _make_objective(_: PretrainConfig, row_placer: RowPlacer) -> LanguageModelling:
    return LanguageModelling(row_placer)


def _identity(config: PretrainConfig, blend: Blend[TokenStream]) -> dict[str, Any]:
    return {
        "seq_length": config.data.seq_length,
        "shuffle": config.data.shuffle,
        "seed": config.data.seed,
        "isolate_documents": config.data.isolate_documents,
        "blend": [
            {"name": source.name, "share": round(source.fraction, 12), "tokens": stream.token_count}
            for source, stream in zip(blend.progress(0), blend.streams, strict=True)
        ],
    }
