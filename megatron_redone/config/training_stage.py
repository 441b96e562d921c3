"""The keys that every stage which trains has, whatever it reads and optimises."""

from typing import Protocol

from megatron_redone.config.checkpoint import CheckpointConfig
from megatron_redone.config.metrics import MetricsConfig
from megatron_redone.config.model import ModelConfig
from megatron_redone.config.optimizer import OptimizerConfig
from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.config.training import TrainingConfig


class TrainingData(Protocol):
    """What the run asks of a `data` section."""

    @property
    def seq_length(self) -> int:
        """Tokens of a row."""
        ...

    @property
    def prefetch(self) -> int:
        """Global batches read ahead of the training step."""
        ...


class TrainingStageConfig(Protocol):
    """What `PretrainConfig`, `SftConfig` and `DpoConfig` share."""

    @property
    def output_dir(self) -> str: ...
    @property
    def init_from(self) -> str | None: ...
    @property
    def tokenizer(self) -> str | None: ...
    @property
    def device(self) -> Device: ...
    @property
    def model(self) -> ModelConfig: ...
    @property
    def parallel(self) -> ParallelConfig: ...
    @property
    def data(self) -> TrainingData: ...
    @property
    def training(self) -> TrainingConfig: ...
    @property
    def optimizer(self) -> OptimizerConfig: ...
    @property
    def checkpoint(self) -> CheckpointConfig: ...
    @property
    def metrics(self) -> MetricsConfig: ...
