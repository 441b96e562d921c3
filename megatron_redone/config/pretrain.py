"""Keys of `redone pretrain`."""

from dataclasses import dataclass

from megatron_redone.config.checkpoint import CheckpointConfig
from megatron_redone.config.data import DataConfig
from megatron_redone.config.field import key
from megatron_redone.config.metrics import MetricsConfig
from megatron_redone.config.model import ModelConfig
from megatron_redone.config.optimizer import OptimizerConfig
from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.config.training import TrainingConfig
from megatron_redone.errors import UserError


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Pretraining from random weights, or continued pretraining with `init_from`."""

    output_dir: str = key("folder of the run: checkpoints, metrics.jsonl, config.yaml", writes=True)
    init_from: str | None = key(
        "weights to begin with: a Hugging Face directory, a hub name, a checkpoint, or a run (its newest checkpoint); "
        "null draws random ones",
        None,
        reads=True,
        or_hub=True,
    )
    tokenizer: str | None = key(
        "folder of the model's tokenizer; null takes the folder that gives the architecture, if it has one",
        None,
        reads=True,
    )
    device: Device = key("where to compute", Device.auto, decides=False)
    model: ModelConfig = key("architecture and computation", ModelConfig)
    parallel: ParallelConfig = key("layout over processes", ParallelConfig, decides=False)
    data: DataConfig = key("what is read")
    training: TrainingConfig = key("length and batch")
    optimizer: OptimizerConfig = key("AdamW and learning rate", OptimizerConfig)
    checkpoint: CheckpointConfig = key("saving and resuming", CheckpointConfig)
    metrics: MetricsConfig = key("reports", MetricsConfig, decides=False)

    def __post_init__(self) -> None:
        if self.model.hf_config is None and self.init_from is None:
            raise UserError("model.hf_config: name the Hugging Face directory or config.json of the architecture")
