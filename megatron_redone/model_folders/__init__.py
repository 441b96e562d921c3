"""A Hugging Face model folder, judged in one place: what it says is read as transformers reads it, or refused."""

from megatron_redone.model_folders.consistency import check_model_folder, open_model_folder
from megatron_redone.model_folders.hf_reader import HFWeights

__all__ = ["HFWeights", "check_model_folder", "open_model_folder"]
