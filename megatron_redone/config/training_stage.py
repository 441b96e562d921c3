"""The keys that every stage which trains has, whatever it reads and optimises."""

from dataclasses import dataclass

from megatron_redone.config.checkpoint import CheckpointConfig
from megatron_redone.config.data import TrainingDataConfig
from megatron_redone.config.field import key
from megatron_redone.config.guards import GuardConfig
from megatron_redone.config.metrics import MetricsConfig
from megatron_redone.config.model import ModelConfig
from megatron_redone.config.optimizer import OptimizerConfig
from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.config.training import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class TrainingStageConfig:
    """What `PretrainConfig`, `SftConfig` and `DpoConfig` share."""

    output_dir: str = key("folder of the run: checkpoints, metrics.jsonl, config.yaml", writes=True)
    init_from: str | None = key(
        "weights to begin with: a Hugging Face directory, a hub name, a checkpoint, or a run (its newest checkpoint); "
        "null draws random ones",
        None,
        reads=True,
        or_hub=True,
    )
    tokenizer: str | None = key("folder of the model's tokenizer; null takes that of init_from", None, reads=True)
    device: Device = key("where to compute", Device.auto, decides=False)
    model: ModelConfig = key("architecture and computation", ModelConfig)
    parallel: ParallelConfig = key("layout over processes", ParallelConfig, decides=False)
    data: TrainingDataConfig = key("what is read")
    training: TrainingConfig = key("length and batch")
    optimizer: OptimizerConfig = key("AdamW and learning rate", OptimizerConfig)
    guards: GuardConfig = key("what is done about steps that go wrong", GuardConfig, decides=False)
    checkpoint: CheckpointConfig = key("saving and resuming", CheckpointConfig)
    metrics: MetricsConfig = key("reports", MetricsConfig, decides=False)
