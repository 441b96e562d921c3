"""What a GPU will hold at most while a training configuration runs, before one is rented.

python tools/estimate_memory.py --config examples/qwen2_5_7b/cpt.yaml --gpus 8 [--hf-config DIR] [key=value ...]

The rank that holds the most is shown. How it is counted stands in megatron_redone/models/memory_estimate.py.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from megatron_redone.architectures import Architecture, read_architecture
from megatron_redone.cli import guarded
from megatron_redone.config.dpo import DpoConfig
from megatron_redone.config.loader import load_config
from megatron_redone.config.pretrain import PretrainConfig
from megatron_redone.config.sft import SftConfig
from megatron_redone.config.training_stage import TrainingStageConfig
from megatron_redone.errors import UserError
from megatron_redone.models.memory_estimate import Load, Memory, estimate_memory

_CLASSES: dict[str, type[TrainingStageConfig]] = {"pretrain": PretrainConfig, "sft": SftConfig, "dpo": DpoConfig}
_LINES = {
    "weights": "weights in bf16",
    "gradients": "gradients in fp32",
    "optimizer": "main weights and moments",
    "activations": "activations",
    "logits": "logits and their loss",
    "fp8_copies": "weights in FP8",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the flags and prints; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="of a training stage")
    parser.add_argument("--gpus", type=int, required=True, help="of all machines")
    parser.add_argument("--stage", choices=_CLASSES, help="whose configuration it is; found out where it is left out")
    parser.add_argument("--hf-config", help="the model's folder or config.json, where the file's is not here")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    arguments = parser.parse_args(argv)
    return guarded("estimate_memory.py", lambda: _show(arguments))


def _show(arguments: argparse.Namespace) -> None:
    config = _load(arguments.config, arguments.stage, arguments.overrides)
    architecture = _architecture(config, arguments.hf_config)
    for line in describe(estimate(config, architecture, arguments.gpus)):
        print(line)


def estimate(config: TrainingStageConfig, architecture: Architecture, gpus: int) -> Memory:
    """The worst rank of a run on so many GPUs.

    Raises:
        UserError: the layout does not fit the model or the number of GPUs.
    """
    copies = max(gpus // config.parallel.model_parallel_size, 1)
    rows = config.training.micro_batch_size
    load = Load(
        gpus=gpus,
        rows=rows,
        length=config.data.seq_length,
        micro_batches=max(config.training.global_batch_size // (rows * copies), 1),
    )
    return estimate_memory(architecture, config.model, config.parallel, config.optimizer, load)


def describe(memory: Memory) -> list[str]:
    """For people, in gigabytes of 10^9 bytes."""
    lines = [f"{text:<26}{getattr(memory, name) / 1e9:8.1f} GB" for name, text in _LINES.items()]
    total = f"{'all, of pipeline stage ' + str(memory.stage):<26}{memory.total / 1e9:8.1f} GB"
    return [*lines, total, "and 2 to 4 GB of context, buffers and holes"]


def _load(path: str, stage: str | None, overrides: Sequence[str]) -> TrainingStageConfig:
    """The configuration, of the stage that knows all of its keys."""
    problems = []
    for name in [stage] if stage is not None else _CLASSES:
        try:
            return load_config(_CLASSES[name], path, list(overrides))
        except UserError as error:
            problems.append(f"{name}: {error}")
    raise UserError("; ".join(problems))


def _architecture(config: TrainingStageConfig, given: str | None) -> Architecture:
    named = given or config.model.hf_config or config.init_from
    if named is None:
        raise UserError("--hf-config: the configuration names no model; give its folder or config.json")
    path = Path(named)
    file = path / "config.json" if path.is_dir() else path
    if not file.is_file() or file.suffix != ".json":
        raise UserError(f"--hf-config: {named} holds no config.json here; give one of the same model")
    return read_architecture(file)


if __name__ == "__main__":
    sys.exit(main())
