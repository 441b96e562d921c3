"""Where a training stage takes its first weights from: a run's checkpoint, or a Hugging Face directory."""

from dataclasses import dataclass
from pathlib import Path

from megatron_redone.checkpoint.checksums import read_checksums
from megatron_redone.checkpoint.locate import checkpoint_of_run
from megatron_redone.checkpoint.record import hf_folder, is_checkpoint
from megatron_redone.config.model import ModelConfig
from megatron_redone.conversion.hf_load import load_hf_weights
from megatron_redone.distributed.collectives import errors_stop_all_ranks
from megatron_redone.errors import UserError
from megatron_redone.formats.hf_folder import find_hf_folder
from megatron_redone.model_folders import HFWeights, open_model_folder
from megatron_redone.models.build import Model
from megatron_redone.training.saving import initialize


@dataclass(frozen=True, kw_only=True)
class InitialWeights:
    """What `init_from` names.

    Attributes:
        folder: The checkpoint, or the Hugging Face directory.
        of_run: Whether it is the checkpoint of a run.
        hf: The tensors of a Hugging Face directory, compared with its config.json; None for a run's checkpoint.
    """

    folder: Path
    of_run: bool
    hf: HFWeights | None = None

    @property
    def config_json(self) -> Path:
        """The config.json of the model that it holds."""
        return (hf_folder(self.folder) if self.of_run else self.folder) / "config.json"

    def fill(self, model: Model) -> None:
        """Takes the weights and nothing else, each rank its own; before an optimizer is built. For all ranks."""
        if self.hf is None:
            initialize(self.folder, model.chunks)
            return
        with errors_stop_all_ranks():
            load_hf_weights(model.chunks, self.hf, model.architecture, model.context)


def find_initial_weights(name: str) -> InitialWeights:
    """What a directory, or a hub name, is. A run stands for its newest checkpoint, RUN/best for its best.

    Raises:
        UserError: it is neither a run's checkpoint nor a model's directory, or a directory that contradicts itself, or
            a small file of the checkpoint is damaged.
    """
    checkpoint = Path(name) if is_checkpoint(Path(name)) else checkpoint_of_run(Path(name))
    if checkpoint is not None:
        read_checksums(checkpoint).check_small_files()  # its config.json and tokenizer are read before the weights
        return InitialWeights(folder=checkpoint, of_run=True)
    neither = f"init_from: {name} is not the checkpoint of a run, nor a run that has one, and no Hugging Face directory"
    try:
        folder = find_hf_folder(name)
    except UserError as error:
        raise UserError(f"{neither} ({error})") from None
    if not (folder / "config.json").is_file():
        raise UserError(f"{neither} (it has no config.json)")
    return InitialWeights(folder=folder, of_run=False, hf=open_model_folder(folder)[1])


def find_config_json(model: ModelConfig, initial: InitialWeights | None) -> Path:
    """The config.json that a model is built by: that of `model.hf_config`, else that of the first weights."""
    if model.hf_config is None:
        assert initial is not None
        return initial.config_json
    path = Path(model.hf_config)
    return path / "config.json" if path.is_dir() else path
