"""What a configuration calls a model: a Hugging Face directory, or a run's checkpoint."""

from pathlib import Path

from megatron_redone.checkpoint.locate import checkpoint_of_run
from megatron_redone.checkpoint.record import hf_folder, is_checkpoint
from megatron_redone.config.evaluate import EvaluatedModel
from megatron_redone.generation.hf_model import LoadedModel, load_model
from megatron_redone.generation.model_files import folder_fingerprint, model_fingerprint
from megatron_redone.generation.placement import Placement


def find_run_checkpoint(path: str) -> Path | None:
    """The checkpoint that a path stands for; None where it is something else, such as a Hugging Face directory."""
    return Path(path) if is_checkpoint(Path(path)) else checkpoint_of_run(Path(path))


def identify(entry: EvaluatedModel) -> str:
    """Sixteen hexadecimal digits that change when the model does, or how it is computed.

    Raises:
        UserError: there is no such model.
    """
    checkpoint = find_run_checkpoint(entry.path)
    if checkpoint is None:
        return model_fingerprint(entry.path, entry.chat_template)
    return folder_fingerprint(checkpoint, hf_folder(checkpoint), entry.chat_template)


def load(entry: EvaluatedModel, place: Placement) -> LoadedModel:
    """Loads it.

    Raises:
        UserError: it cannot be loaded.
    """
    checkpoint = find_run_checkpoint(entry.path)
    if checkpoint is None:
        return load_model(entry.path, place, entry.chat_template)
    # megatron-core takes seconds to import, and most evaluations are of exports.
    from megatron_redone.evaluation.checkpoint_model import load_checkpoint

    return load_checkpoint(checkpoint, place, entry.chat_template)
