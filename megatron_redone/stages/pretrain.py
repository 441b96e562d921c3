"""`redone pretrain`: next-token training over a blend of indexed datasets, on any parallel layout.

Continued pretraining is the same with `init_from`. To be started by torchrun, or alone for one process.
"""

from megatron_redone.config.pretrain import PretrainConfig
from megatron_redone.training.pretraining import pretrain


def run(config: PretrainConfig) -> None:
    """Trains, and leaves checkpoints, metrics.jsonl and config.yaml in `output_dir`."""
    pretrain(config)
