"""Keys of `redone pretrain`."""

from dataclasses import dataclass

from megatron_redone.config.data import DataConfig
from megatron_redone.config.field import key
from megatron_redone.config.training_stage import TrainingStageConfig
from megatron_redone.errors import UserError


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(TrainingStageConfig):
    """Pretraining from random weights, or continued pretraining with `init_from`."""

    tokenizer: str | None = key(
        "folder of the model's tokenizer; null takes the folder that gives the architecture, if it has one",
        None,
        reads=True,
    )
    data: DataConfig = key("what is read")

    def __post_init__(self) -> None:
        if self.model.hf_config is None and self.init_from is None:
            raise UserError("model.hf_config: name the Hugging Face directory or config.json of the architecture")
