"""Whether a model folder says one thing: asked by all who read one, before they read it."""

import logging
from pathlib import Path

from megatron_redone.architectures import Architecture, read_architecture
from megatron_redone.architectures.hf_config import ignored_keys
from megatron_redone.architectures.json_object import read_json_object
from megatron_redone.architectures.unsupported_model import UnsupportedModelError
from megatron_redone.formats.hf_folder import read_hf_checksums
from megatron_redone.model_folders.generation_settings import check_generation_settings
from megatron_redone.model_folders.hf_reader import HFWeights
from megatron_redone.model_folders.tensor_files import list_tensors
from megatron_redone.model_folders.weight_files import find_weight_files

log = logging.getLogger(__name__)


def open_model_folder(folder: Path, *, allow_pickle: bool = False) -> tuple[Architecture, HFWeights]:
    """What a folder holds, after all of it has been compared; for those who compute the model here.

    Args:
        folder: A Hugging Face model directory.
        allow_pickle: Read pickled weights where there are no others.

    Raises:
        UserError: files or keys that contradict each other, or are damaged or missing.
        UnsupportedModelError: another model than this project computes.
    """
    read_hf_checksums(folder).check_small_files()
    architecture = read_architecture(folder)
    check_generation_settings(folder, architecture.vocab_size)
    weights = HFWeights(folder, architecture, allow_pickle=allow_pickle)
    ignored = ignored_keys(read_json_object(folder / "config.json"))
    if ignored:
        log.warning("%s: config.json: nobody reads %s", folder, ", ".join(ignored))
    return architecture, weights


def check_model_folder(folder: Path) -> None:
    """The same for those who have transformers compute the model; it may be of any family that transformers knows.

    Every byte of a folder that has checksums is compared with them, as others read it whole.

    Raises:
        UserError: see `open_model_folder`.
    """
    read_hf_checksums(folder).check_all()
    try:
        open_model_folder(folder)
    except UnsupportedModelError:
        check_generation_settings(folder, None)
        list_tensors(find_weight_files(folder))
