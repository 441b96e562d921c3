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
    profile_steps: list[int] = key(
        "steps of which each process writes torch's trace to the run's folder profile; nsys sees them as its capture "
        "range",
        [],
    )
    memory_snapshot_step: int | None = key(
        "after this step each process writes the history of its device's memory there; CUDA only", None, at_least=1
    )
    rank_times: bool = key(
        "report how long the fastest and the slowest process take until gradients are summed, and which that is", False
    )
    flight_recorder: bool = key(
        "record NCCL's calls of each rank, and write them to the run's folder flight_recorder where one hangs", False
    )
    wandb_name: str | None = key("the run's name in Weights & Biases; null lets it choose", None)

    def __post_init__(self) -> None:
        if any(step < 1 for step in self.profile_steps):
            raise UserError("profile_steps: steps are counted from 1")
        if self.wandb_name is not None and self.wandb_project is None:
            raise UserError("wandb_name: counts only with wandb_project; give that too, or leave the name out")
