"""What a training run of any stage reads and checks before a model is built."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from megatron_redone.architectures import Architecture, read_architecture
from megatron_redone.checkpoint.folder import CheckpointFolder
from megatron_redone.checkpoint.record import collect_hf_files, hf_folder, read_config, read_state
from megatron_redone.config.checkpoint import OnDamage
from megatron_redone.config.loader import flat_values, to_yaml
from megatron_redone.config.model import Precision
from megatron_redone.config.training_stage import TrainingStageConfig
from megatron_redone.datasets.batch_reader import BatchReader
from megatron_redone.datasets.batch_slice import BatchSlice
from megatron_redone.datasets.blend import SourceProgress
from megatron_redone.datasets.validation import ValidationSet
from megatron_redone.datasets.vocabulary import Vocabulary
from megatron_redone.distributed import ParallelContext
from megatron_redone.errors import DamageError, UserError
from megatron_redone.formats.hf_folder import read_hf_checksums
from megatron_redone.models.parallel_sizes import check_micro_batches, check_parallel_sizes
from megatron_redone.training.best import check_best_metric
from megatron_redone.training.carried_template import is_template, template_of_data, template_texts
from megatron_redone.training.initial_weights import InitialWeights, find_config_json, find_initial_weights
from megatron_redone.training.model_vocabulary import find_tokenizer, model_vocabulary
from megatron_redone.training.schedule import LearningRate
from megatron_redone.training.small_steps import check_small_steps

log = logging.getLogger(__name__)

ConfigT = TypeVar("ConfigT", bound=TrainingStageConfig)


@dataclass(frozen=True, kw_only=True)
class RunData:
    """What sets the data of one training stage apart from the others'.

    Attributes:
        reader: This rank's part of every global batch.
        progress: What the first so many samples took of each source.
        validation: What is validated, source by source.
        identity: What decides which tokens sample number n holds; paths are left out, as data may be moved.
        train_steps: Steps of the run.
        packed: Whether a row holds texts that cannot see each other.
        lengths_vary: Whether Transformer Engine gets micro-batches of different lengths.
        description: Lines that describe the data to a person.
        chat_template_of: The source whose chat template the model is to leave with; None where all have the same.
    """

    reader: BatchReader
    progress: Callable[[int], list[SourceProgress]]
    validation: Sequence[ValidationSet]
    identity: dict[str, Any]
    train_steps: int
    packed: bool
    lengths_vary: bool
    description: Sequence[str]
    chat_template_of: str | None = None


OpenData = Callable[[ConfigT, BatchSlice, Vocabulary], RunData]
"""Opens a stage's data.

Raises:
    UserError: for data that is missing, damaged or made for another model.
"""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Everything that is read and checked before a model is built."""

    architecture: Architecture
    hf_files: dict[str, Path]
    hf_texts: dict[str, str]
    batch_slice: BatchSlice
    data: RunData
    schedule: LearningRate
    folder: CheckpointFolder
    checkpoint: Path | None
    initial: InitialWeights | None


def read_inputs(config: ConfigT, context: ParallelContext, open_data: OpenData[ConfigT]) -> Inputs:
    """Reads and checks what the run is made of; waits for no other rank.

    Raises:
        UserError: for everything that does not fit together.
    """
    check_small_steps(config.optimizer, config.model)
    initial = find_initial_weights(config.init_from) if config.init_from is not None else None
    config_json = find_config_json(config.model, initial)
    read_hf_checksums(config_json.parent).check_small_files()
    architecture = read_architecture(config_json)
    check_parallel_sizes(architecture, config.parallel, config.data.seq_length)
    _warn_of_unknown_positions(architecture, config.data.seq_length)
    tokenizer = find_tokenizer(config.tokenizer, config_json)
    vocabulary = model_vocabulary(architecture, tokenizer)
    batch_slice = BatchSlice(
        global_batch_size=config.training.global_batch_size,
        micro_batch_size=config.training.micro_batch_size,
        data_parallel_size=context.data_size,
        data_parallel_rank=context.data_rank,
    )
    check_micro_batches(batch_slice.micro_batch_count, config.parallel)
    folder = CheckpointFolder(checkpoints_path(config))
    data = open_data(config, batch_slice, vocabulary)
    hf_files, hf_texts = _hf_files(config, data.chat_template_of, config_json, tokenizer)
    check_best_metric(config.checkpoint, [source.name for source in data.validation])
    return Inputs(
        architecture=architecture,
        hf_files=hf_files,
        hf_texts=hf_texts,
        batch_slice=batch_slice,
        data=data,
        schedule=LearningRate(config.optimizer, data.train_steps),
        folder=folder,
        checkpoint=_checkpoint_to_resume(config, folder),
        initial=initial,
    )


def _hf_files(
    config: TrainingStageConfig, chosen: str | None, config_json: Path, tokenizer: Path | None
) -> tuple[dict[str, Path], dict[str, str]]:
    """The model's files that checkpoints carry, and the texts of those that the data decides."""
    files = collect_hf_files(config_json, tokenizer)
    template = template_of_data([*config.data.blend, *config.data.validation], chosen, tokenizer)
    if template is None:
        return files, {}
    texts = template_texts(template, files, tokenizer)
    return {name: path for name, path in files.items() if name not in texts and not is_template(name)}, texts


def _warn_of_unknown_positions(architecture: Architecture, seq_length: int) -> None:
    """Rotary positions have no end, so nothing else would tell."""
    known = architecture.known_positions
    if seq_length > known:
        log.warning(
            "data.seq_length: %d exceeds the model's max_position_embeddings %d: it may never have seen such positions",
            *(seq_length, known),
        )


def checkpoints_path(config: TrainingStageConfig) -> Path:
    """The folder of the run's checkpoints."""
    return Path(config.checkpoint.save_dir or Path(config.output_dir) / "checkpoints")


def recorded_precision(config: TrainingStageConfig) -> Precision | None:
    """What the run that would go on computes in; None where it begins.

    Raises:
        DamageError: the record of its newest checkpoint is damaged, and none before it is to be taken.
    """
    folder = CheckpointFolder(checkpoints_path(config))
    checkpoint = folder.latest()
    while checkpoint is not None:
        try:
            return Precision.__members__.get(str(flat_values(read_config(checkpoint)).get("model.precision")))
        except DamageError:
            if config.checkpoint.on_damage is OnDamage.stop:
                raise
            checkpoint = folder.before(checkpoint)  # as `whole_checkpoint` will, which tells of it
    return None


def _checkpoint_to_resume(config: TrainingStageConfig, folder: CheckpointFolder) -> Path | None:
    latest = folder.latest()
    if latest is not None and not config.checkpoint.resume:
        raise UserError(
            f"checkpoint.resume: is false, but {folder.path} holds checkpoints; choose another output_dir, "
            "or set it to true to go on from them"
        )
    return latest


def check_resumable(config: TrainingStageConfig, inputs: Inputs, checkpoint: Path) -> None:
    """Refuses to resume a run of another model, or over other data.

    Raises:
        UserError: naming what differs.
    """
    before = read_architecture(hf_folder(checkpoint) / "config.json")
    _refuse_other_architecture(before, inputs.architecture, checkpoint)
    _log_changed_keys(config, checkpoint)
    old, new = read_state(checkpoint).data, inputs.data.identity
    changed = [name for name in new if old.get(name) != new[name]]
    if not changed:
        return
    text = f"{checkpoint}: data changed since: " + ", ".join(f"{n} {old.get(n)} -> {new[n]}" for n in changed)
    if not config.checkpoint.accept_changed_data:
        raise UserError(f"{text}; restore it, or set checkpoint.accept_changed_data=true")
    log.warning("%s", text)


def _log_changed_keys(config: TrainingStageConfig, checkpoint: Path) -> None:
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
