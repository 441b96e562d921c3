"""Keys of `redone export-hf`."""

from dataclasses import dataclass

from megatron_redone.config.field import key
from megatron_redone.config.weights_dtype import WeightsDtype


@dataclass(frozen=True, kw_only=True)
class ExportHFConfig:
    """A checkpoint of any layout to a Hugging Face directory."""

    checkpoint: str = key("a checkpoint, or the folder of a run, whose newest checkpoint is taken", reads=True)
    output: str = key("the Hugging Face directory to make", writes=True)
    hf_config: str | None = key(
        "a Hugging Face directory with config.json and tokenizer; null takes those that the checkpoint carries",
        None,
        reads=True,
    )
    dtype: WeightsDtype = key("type of the weights; keep leaves them as the checkpoint has them", WeightsDtype.keep)
    max_shard_gb: float = key("gigabytes (10^9 bytes) of one safetensors file", 5.0, above=0)
    end_tokens: list[str] = key("tokens that end an answer, besides those the model has: <|im_end|> after SFT", [])
    overwrite: bool = key("replace what is at output", False, decides=False)
