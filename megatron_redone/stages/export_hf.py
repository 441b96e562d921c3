"""`redone export-hf`: a checkpoint of any layout to a Hugging Face directory, in one process."""

import logging
from pathlib import Path

import torch

from megatron_redone.checkpoint.locate import find_checkpoint
from megatron_redone.checkpoint.record import hf_folder
from megatron_redone.config.bf16_rounding import Bf16Rounding
from megatron_redone.config.export_hf import ExportHFConfig
from megatron_redone.config.weights_dtype import WeightsDtype
from megatron_redone.conversion.exporting import export_checkpoint
from megatron_redone.errors import UserError
from megatron_redone.tokenization.chat_template_file import own_templates

log = logging.getLogger(__name__)


def run(config: ExportHFConfig) -> None:
    """Writes the directory.

    Raises:
        UserError: for anything that the user can mend.
    """
    checkpoint = find_checkpoint(Path(config.checkpoint))
    hf_files = Path(config.hf_config) if config.hf_config is not None else hf_folder(checkpoint)
    if not (hf_files / "config.json").is_file():
        raise UserError(f"hf_config: {hf_files} has no config.json; name the model's Hugging Face directory")
    _tell_other_template(checkpoint, hf_files)
    export_checkpoint(
        checkpoint,
        hf_files,
        Path(config.output),
        dtype=None if config.dtype is WeightsDtype.keep else getattr(torch, config.dtype.value),
        stochastic=config.rounding is Bf16Rounding.stochastic,
        seed=config.seed,
        max_shard_size=int(config.max_shard_gb * 1e9),
        end_tokens=config.end_tokens,
        overwrite=config.overwrite,
    )


def _tell_other_template(checkpoint: Path, hf_files: Path) -> None:
    """A folder that the user names has a template of its own, which need not be that of the data."""
    carried = own_templates(hf_folder(checkpoint))
    if carried and carried != own_templates(hf_files):
        log.warning(
            "hf_config: its chat template is another than the one that the run's data was prepared with; the export "
            "leaves with that of %s",
            hf_files,
        )
