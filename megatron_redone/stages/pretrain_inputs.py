"""What a pretraining run reads and checks before a model is built."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_redone.checkpoint.folder import CheckpointFolder
from megatron_redone.checkpoint.record import collect_hf_files, hf_folder, read_config, read_state
from megatron_redone.config import flat_values, to_yaml
from megatron_redone.config.pretrain import PretrainConfig
from megatron_redone.config.tokenizer import TokenizerConfig
from megatron_redone.datasets.batches import BatchLayout
from megatron_redone.datasets.blend import Blend
from megatron_redone.datasets.validation import ValidationSource, open_validation
from megatron_redone.datasets.vocabulary import Vocabulary
from megatron_redone.distributed import ParallelContext
from megatron_redone.errors import UserError
from megatron_redone.metrics.flops import ModelShape
from megatron_redone.models.architecture import Architecture, read_architecture
from megatron_redone.models.layout import check_layout, check_micro_batches
from megatron_redone.stages.initial_weights import InitialWeights, find_initial_weights
from megatron_redone.tokenization.tokenizer import Tokenizer
from megatron_redone.training.schedule import LearningRate

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Everything that is read and checked before a model is built."""

    architecture: Architecture
    shape: ModelShape
    hf_files: dict[str, Path]
    layout: BatchLayout
    blend: Blend
    validation: list[ValidationSource]
    schedule: LearningRate
    folder: CheckpointFolder
    checkpoint: Path | None
    initial: InitialWeights | None


def read_inputs(config: PretrainConfig, context: ParallelContext) -> Inputs:
    """Reads and checks what the run is made of; waits for no other rank.

    Raises:
        UserError: for everything that does not fit together.
    """
    initial = find_initial_weights(config.init_from) if config.init_from is not None else None
    config_json = _config_json(config, initial)
    architecture = read_architecture(config_json)
    check_layout(architecture, config.parallel, config.data.seq_length)
    tokenizer = _tokenizer_folder(config, config_json)
    vocabulary = Vocabulary(size=architecture.vocab_size, fingerprint=_fingerprint(tokenizer))
    layout = BatchLayout(
        global_batch_size=config.training.global_batch_size,
        micro_batch_size=config.training.micro_batch_size,
        data_parallel_size=context.data_size,
        data_parallel_rank=context.data_rank,
    )
    check_micro_batches(layout.micro_batch_count, config.parallel)
    folder = CheckpointFolder(Path(config.checkpoint.save_dir or Path(config.output_dir) / "checkpoints"))
    return Inputs(
        architecture=architecture,
        shape=ModelShape.from_hf_config(json.loads(config_json.read_text(encoding="utf-8"))),
        hf_files=collect_hf_files(config_json, tokenizer),
        layout=layout,
        blend=Blend.open(config.data, vocabulary),
        validation=open_validation(config.data, vocabulary),
        schedule=LearningRate(config.optimizer, config.training.steps(config.data.seq_length)),
        folder=folder,
        checkpoint=_checkpoint_to_resume(config, folder),
        initial=initial,
    )


def _config_json(config: PretrainConfig, initial: InitialWeights | None) -> Path:
    if config.model.hf_config is None:
        assert initial is not None
        return initial.config_json
    path = Path(config.model.hf_config)
    return path / "config.json" if path.is_dir() else path


def _tokenizer_folder(config: PretrainConfig, config_json: Path) -> Path | None:
    if config.tokenizer is not None:
        folder = Path(config.tokenizer)
        if not folder.is_dir():
            raise UserError(f"tokenizer: {folder}: no such directory")
        return folder
    has_one = any((config_json.parent / name).is_file() for name in ("tokenizer.json", "tokenizer.model"))
    return config_json.parent if has_one else None


def _fingerprint(folder: Path | None) -> str | None:
    if folder is None:
        log.warning("the model comes without a tokenizer: whether the data was made with the same one is not checked")
        return None
    return Tokenizer(TokenizerConfig(path=str(folder)), fast=False).fingerprint()


def _checkpoint_to_resume(config: PretrainConfig, folder: CheckpointFolder) -> Path | None:
    latest = folder.latest()
    if latest is not None and not config.checkpoint.resume:
        raise UserError(
            f"checkpoint.resume: is false, but {folder.path} holds checkpoints; choose another output_dir, "
            "or set it to true to go on from them"
        )
    return latest


def data_identity(config: PretrainConfig, blend: Blend) -> dict[str, Any]:
    """What decides which tokens sample number n holds; paths are left out, as a corpus may be moved."""
    shares = blend.progress(0)
    return {
        "seq_length": config.data.seq_length,
        "shuffle": config.data.shuffle,
        "seed": config.data.seed,
        "isolate_documents": config.data.isolate_documents,
        "blend": [
            {"name": source.name, "share": round(source.share, 12), "tokens": stream.token_count}
            for source, stream in zip(shares, blend.streams, strict=True)
        ],
    }


def check_resumable(config: PretrainConfig, inputs: Inputs, checkpoint: Path) -> None:
    """Refuses to resume a run of another model, or over other data.

    Raises:
        UserError: naming what differs.
    """
    before = read_architecture(hf_folder(checkpoint) / "config.json")
    _refuse_other_architecture(before, inputs.architecture, checkpoint)
    _tell_changed_keys(config, checkpoint)
    shared = config.parallel.use_distributed_optimizer
    if flat_values(read_config(checkpoint)).get("parallel.use_distributed_optimizer", shared) != shared:
        raise UserError(
            f"parallel.use_distributed_optimizer: is {shared}, but the optimizer state of {checkpoint} was saved with "
            "the other; set it back, or begin a new run with init_from"
        )
    old, new = read_state(checkpoint).data, data_identity(config, inputs.blend)
    changed = [name for name in new if old.get(name) != new[name]]
    if not changed:
        return
    text = f"{checkpoint}: data changed since: " + ", ".join(f"{n} {old.get(n)} -> {new[n]}" for n in changed)
    if not config.checkpoint.accept_changed_data:
        raise UserError(f"{text}; restore it, or set checkpoint.accept_changed_data=true")
    log.warning("%s", text)


def _tell_changed_keys(config: PretrainConfig, checkpoint: Path) -> None:
    old, new = (flat_values(text) for text in (read_config(checkpoint), to_yaml(config)))
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            log.info("changed since the checkpoint: %s %s -> %s", name, old.get(name), new.get(name))


def check_initializable(inputs: Inputs, initial: InitialWeights) -> None:
    """Refuses weights of another architecture."""
    _refuse_other_architecture(read_architecture(initial.config_json), inputs.architecture, initial.folder)


def _refuse_other_architecture(before: Architecture, now: Architecture, checkpoint: Path) -> None:
    names = (name for name in vars(now) if name not in ("initializer_range", "max_position_embeddings"))
    changed = [f"{name} {getattr(before, name)} -> {getattr(now, name)}" for name in names
               if getattr(before, name) != getattr(now, name)]  # fmt: skip
    if changed:
        raise UserError(
            f"{checkpoint}: a checkpoint of another architecture ({', '.join(changed)}); "
            "choose another output_dir, or the architecture of the checkpoint"
        )
