"""`redone import-hf`: a Hugging Face directory to a megatron-core distributed checkpoint, in one process."""

from pathlib import Path

import torch

from megatron_redone.config.import_hf import ImportHFConfig
from megatron_redone.config.loader import to_yaml
from megatron_redone.config.weights_dtype import WeightsDtype
from megatron_redone.conversion.importing import import_checkpoint
from megatron_redone.formats.hf_folder import find_hf_folder


def run(config: ImportHFConfig) -> None:
    """Writes the checkpoint.

    Raises:
        UserError: for anything that the user can mend.
    """
    import_checkpoint(
        find_hf_folder(config.hf),
        Path(config.output),
        to_yaml(config),
        dtype=None if config.dtype is WeightsDtype.keep else getattr(torch, config.dtype.value),
        allow_pickle=config.allow_pickle,
        overwrite=config.overwrite,
    )
