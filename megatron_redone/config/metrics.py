"""Where a run's figures go, beside the console and metrics.jsonl."""

from dataclasses import dataclass

from megatron_redone.config.field import key
from megatron_redone.errors import UserError


@dataclass(frozen=True, kw_only=True)
class MetricsConfig:
    """What is reported, how often and to whom."""

    log_interval: int = key("steps between two reports", 1, at_least=1)
    tensorboard: bool = key("write TensorBoard event files to the run's folder", False)
    wandb_project: str | None = key("report to this Weights & Biases project; null reports nothing there", None)
    wandb_name: str | None = key("the run's name in Weights & Biases; null lets it choose", None)

    def __post_init__(self) -> None:
        if self.wandb_name is not None and self.wandb_project is None:
            raise UserError("wandb_name: counts only with wandb_project; give that too, or leave the name out")
