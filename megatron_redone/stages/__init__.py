"""The stages: every one is `run(config)`, reads files and writes files.

This table is all that the command line needs to list them; a stage's own module, and with it
torch, is imported only when the stage runs.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Stage:
    """One sub-command of `redone`.

    Attributes:
        summary: One line for `redone --help`.
        schema: `module:Class` of its configuration dataclass.
        module: The module whose `run(config)` does the work.
    """

    summary: str
    schema: str
    module: str

    def config_class(self) -> type:
        """Imports and returns the configuration dataclass."""
        module, name = self.schema.split(":")
        return getattr(import_module(module), name)

    def run(self, config: Any) -> None:
        """Imports the stage and runs it."""
        import_module(self.module).run(config)


STAGES = {
    "tokenize": Stage(
        "raw JSONL or Parquet to Megatron indexed datasets (.bin/.idx)",
        "megatron_redone.config.tokenize:TokenizeConfig",
        "megatron_redone.stages.tokenize",
    ),
    "pretrain": Stage(
        "train on tokens, from random weights or from a checkpoint (start it with torchrun)",
        "megatron_redone.config.pretrain:PretrainConfig",
        "megatron_redone.stages.pretrain",
    ),
}
