"""What a configuration calls a model: a Hugging Face directory, or a run's checkpoint."""

from megatron_redone.checkpoint.record import hf_folder
from megatron_redone.config.evaluate import EvaluatedModel
from megatron_redone.evaluation.checkpoint_model import find_run_checkpoint, load_checkpoint
from megatron_redone.generation.hf_model import LoadedModel, load_model
from megatron_redone.generation.model_files import folder_fingerprint, model_fingerprint
from megatron_redone.generation.placement import Placement


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
    return load_checkpoint(checkpoint, place, entry.chat_template)
