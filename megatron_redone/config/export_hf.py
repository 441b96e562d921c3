"""Keys of `redone export-hf`."""

from dataclasses import dataclass

from megatron_redone.config.bf16_rounding import Bf16Rounding
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
    dtype: WeightsDtype = key(
        "type of the weights; keep leaves them as the checkpoint has them, fp32 takes a run's main weights where it "
        "trained in bf16",
        WeightsDtype.keep,
    )
    rounding: Bf16Rounding = key(
        "how dtype=bf16 rounds weights that the checkpoint has in fp32: by chance (stochastic), which keeps the "
        "mean of small changes, or to the nearest, which loses them",
        Bf16Rounding.stochastic,
    )
    seed: int = key("of stochastic rounding", 1234, at_least=0)
    max_shard_gb: float = key("gigabytes (10^9 bytes) of one safetensors file", 5.0, above=0)
    end_tokens: list[str] = key(
        "tokens that end an answer, besides those of the model and of the conversations that it was trained on", []
    )
    overwrite: bool = key("replace what is at output", False, decides=False)
