"""Keys of `redone import-hf`."""

from dataclasses import dataclass

from megatron_redone.config.field import key
from megatron_redone.config.weights_dtype import WeightsDtype


@dataclass(frozen=True, kw_only=True)
class ImportHFConfig:
    """A Hugging Face directory to a megatron-core distributed checkpoint."""

    hf: str = key("a Hugging Face directory, or a hub name where the network allows it", reads=True, or_hub=True)
    output: str = key("the checkpoint to make", writes=True)
    dtype: WeightsDtype = key("type of the weights; keep leaves them as they are", WeightsDtype.keep)
    allow_pickle: bool = key("read pytorch_model.bin, without running code from it, where nothing else is", False)
    overwrite: bool = key("replace what is at output", False, decides=False)
