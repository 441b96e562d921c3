"""What a configuration calls a model: a Hugging Face directory, or a run's checkpoint."""

from dataclasses import dataclass
from pathlib import Path

from megatron_redone.checkpoint.locate import checkpoint_of_run
from megatron_redone.checkpoint.record import hf_folder, is_checkpoint
from megatron_redone.config.evaluate import EvaluatedModel
from megatron_redone.generation.hf_model import LoadedModel, load_model
from megatron_redone.generation.model_files import folder_fingerprint, model_fingerprint
from megatron_redone.generation.placement import Placement


@dataclass(frozen=True, kw_only=True)
class LocatedModel:
    """A model whose place is found: a run that goes on saves newer checkpoints, and these are others.

    Attributes:
        entry: What the configuration says of it.
        checkpoint: Of a run; None of a Hugging Face directory.
    """

    entry: EvaluatedModel
    checkpoint: Path | None


def locate(entry: EvaluatedModel) -> LocatedModel:
    """Finds the checkpoint that a path stands for now; where it stands for none, it is a Hugging Face directory's."""
    path = Path(entry.path)
    return LocatedModel(entry=entry, checkpoint=path if is_checkpoint(path) else checkpoint_of_run(path))


def identify(model: LocatedModel) -> str:
    """Sixteen hexadecimal digits that change when the model does, or how it is computed.

    Raises:
        UserError: there is no such model.
    """
    template = model.entry.chat_template
    if model.checkpoint is None:
        return model_fingerprint(model.entry.path, template)
    return folder_fingerprint(model.checkpoint, hf_folder(model.checkpoint), template)


def load(model: LocatedModel, place: Placement) -> LoadedModel:
    """Loads it.

    Raises:
        UserError: it cannot be loaded.
    """
    template = model.entry.chat_template
    if model.checkpoint is None:
        return load_model(model.entry.path, place, template)
    # megatron-core takes seconds to import, and most evaluations are of exports.
    from megatron_redone.evaluation.checkpoint_model import load_checkpoint

    return load_checkpoint(model.checkpoint, place, template)
