"""`redone pretrain`: next-token training over a blend of indexed datasets, on any parallel layout.

Continued pretraining is the same with `init_from`. To be started by torchrun, or alone for one process.
"""

from functools import partial
from typing import Any

from megatron_redone.config.pretrain import PretrainConfig
from megatron_redone.datasets.batches import BatchLayout, BatchReader
from megatron_redone.datasets.blend import Blend
from megatron_redone.datasets.token_stream import TokenStream, open_blend
from megatron_redone.datasets.validation import open_validation
from megatron_redone.datasets.vocabulary import Vocabulary
from megatron_redone.metrics.progress import scaled
from megatron_redone.objectives.language_modelling import LanguageModelling
from megatron_redone.training.inputs import Task
from megatron_redone.training.setup import run_training


def run(config: PretrainConfig) -> None:
    """Trains, and leaves checkpoints, metrics.jsonl and config.yaml in `output_dir`; see `run_training`."""
    run_training(config, partial(_open_task, config))


def _open_task(config: PretrainConfig, layout: BatchLayout, vocabulary: Vocabulary) -> Task:
    blend = open_blend(config.data, vocabulary)
    return Task(
        reader=BatchReader(blend, layout, isolate_documents=config.data.isolate_documents),
        progress=blend.progress,
        validation=open_validation(config.data, vocabulary),
        objective=LanguageModelling,
        identity=_identity(config, blend),
        train_steps=config.training.steps(config.data.seq_length, blend.samples_per_epoch),
        packed=config.data.isolate_documents,
        lengths_vary=config.data.isolate_documents and config.parallel.context_parallel_size > 1,
        description=[
            f"{name}: {scaled(stream.token_count)} tokens"
            for name, stream in zip(blend.names, blend.streams, strict=True)
        ],
    )


def _identity(config: PretrainConfig, blend: Blend[TokenStream]) -> dict[str, Any]:
    return {
        "seq_length": config.data.seq_length,
        "shuffle": config.data.shuffle,
        "seed": config.data.seed,
        "isolate_documents": config.data.isolate_documents,
        "blend": [
            {"name": source.name, "share": round(source.share, 12), "tokens": stream.token_count}
            for source, stream in zip(blend.progress(0), blend.streams, strict=True)
        ],
    }
