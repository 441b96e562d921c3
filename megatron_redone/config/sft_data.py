"""What fine-tuning reads: a weighted blend of conversations, and what it is validated on."""

import enum
from dataclasses import dataclass

from megatron_redone.config.data import TrainingDataConfig
from megatron_redone.config.field import key


class TooLong(enum.Enum):
    """What becomes of a conversation that does not fit a row."""

    truncate = "truncate"
    drop = "drop"
    refuse = "refuse"


@dataclass(frozen=True, kw_only=True)
class SftDataConfig(TrainingDataConfig):
    """The training blend and the validation sources, as `redone prepare-sft` writes them."""

    seq_length: int = key("tokens of a row, which holds several whole conversations", at_least=1)
    too_long: TooLong = key("a conversation longer than a row loses its end, is left out, or stops the run",
                            TooLong.truncate)  # fmt: skip
    chat_template_of: str | None = key(
        "the source whose chat template the model leaves with, where they differ; model keeps its own", None
    )
    validation_rows: int = key("rows read of each validation dataset, always its first ones", 128, at_least=1)
