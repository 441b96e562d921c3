"""Keys of `redone sft`."""

from dataclasses import dataclass

from megatron_redone.config.field import key
from megatron_redone.config.sft_data import SftDataConfig
from megatron_redone.config.training import TrainingConfig
from megatron_redone.config.training_stage import TrainingStageConfig


@dataclass(frozen=True, kw_only=True)
class SftConfig(TrainingStageConfig):
    """Supervised fine-tuning; its second step is the same with `init_from` the first."""

    init_from: str = key(
        "weights to begin with: a Hugging Face directory, a hub name, a checkpoint, or a run (its newest checkpoint)",
        reads=True,
        or_hub=True,
    )
    data: SftDataConfig = key("what is read")
    training: TrainingConfig = key("length and batch, whose samples are packed rows")
