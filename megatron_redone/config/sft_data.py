"""What fine-tuning reads: a weighted blend of conversations, and what it is validated on."""

import enum
from dataclasses import dataclass

from megatron_redone.config.data import BlendSource, DataSource, check_sources
from megatron_redone.config.field import key
from megatron_redone.errors import UserError


class TooLong(enum.Enum):
    """What becomes of a conversation that does not fit a row."""

    truncate = "truncate"
    drop = "drop"
    refuse = "refuse"


@dataclass(frozen=True, kw_only=True)
class SftDataConfig:
    """The training blend and the validation sources, as `redone prepare-sft` writes them."""

    blend: list[BlendSource] = key("the datasets to train on; a weight is a share of the rows")
    seq_length: int = key("tokens of a row, which holds several whole conversations")
    too_long: TooLong = key("a conversation longer than a row loses its end, is left out, or stops the run",
                            TooLong.truncate)  # fmt: skip
    shuffle: bool = key("shuffle the rows of each epoch", True)
    seed: int = key("seed of the shuffle", 1234)
    prefetch: int = key("global batches read ahead of the training step", 2, decides=False)
    validation: list[DataSource] = key("the datasets to validate on, each reported by itself", [])
    validation_rows: int = key("rows read of each validation dataset, always its first ones", 128)

    def __post_init__(self) -> None:
        check_sources(self.blend, self.validation)
        for name in ("seq_length", "prefetch", "validation_rows"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}: {getattr(self, name)} is less than 1")
