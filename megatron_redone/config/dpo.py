"""Keys of `redone dpo`."""

from dataclasses import dataclass

from megatron_redone.config.field import key
from megatron_redone.config.preference import PreferenceLossConfig
from megatron_redone.config.preference_data import PreferenceDataConfig
from megatron_redone.config.training import TrainingConfig
from megatron_redone.config.training_stage import TrainingStageConfig
from megatron_redone.errors import UserError


@dataclass(frozen=True, kw_only=True)
class DpoConfig(TrainingStageConfig):
    """Preference optimisation; only the policy is in memory, score-reference has scored the pairs before."""

    init_from: str = key(
        "the policy to begin with: a Hugging Face directory or hub name, or a run's checkpoint",
        reads=True,
        or_hub=True,
    )
    reference: str | None = key(
        "the model that score-reference must have scored with; null takes init_from", None, reads=True, or_hub=True
    )
    reference_dir: str | None = key("folder of the reference scores; null looks beside each dataset", None, reads=True)
    accept_other_reference: bool = key("take scores of another model than `reference`", False)
    data: PreferenceDataConfig = key("what is read")
    loss: PreferenceLossConfig = key("what is minimised", PreferenceLossConfig)
    training: TrainingConfig = key("length and batch; global_batch_size counts pairs, micro_batch_size rows")

    def __post_init__(self) -> None:
        if self.training.train_tokens is not None:
            raise UserError("training.train_tokens: a batch is a number of pairs; give train_steps or train_epochs")
