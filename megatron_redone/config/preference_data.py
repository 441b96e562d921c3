"""What preference optimisation reads: a weighted blend of pairs, and what it is validated on."""

import enum
from dataclasses import dataclass

from megatron_redone.config.data import BlendSource, DataSource, check_sources
from megatron_redone.config.field import key
from megatron_redone.errors import UserError


class TooLongPair(enum.Enum):
    """What becomes of a pair that does not fit a row."""

    drop = "drop"
    refuse = "refuse"


@dataclass(frozen=True, kw_only=True)
class PreferenceDataConfig:
    """The training blend and the validation sources, as `redone prepare-preferences` writes them."""

    blend: list[BlendSource] = key("the datasets to train on; a weight is a share of the pairs")
    seq_length: int = key("tokens that a row may hold; both responses of a pair sit in one row")
    share_prompt: bool = key(
        "compute the prompt of a pair once for both responses (torch backend; arXiv 2410.20305)", False
    )
    too_long: TooLongPair = key("a pair longer than a row is left out, or stops the run", TooLongPair.drop)
    shuffle: bool = key("shuffle the pairs of each epoch", True)
    seed: int = key("seed of the shuffle", 1234)
    prefetch: int = key("global batches read ahead of the training step", 2, decides=False)
    validation: list[DataSource] = key("the datasets to validate on, each reported by itself", [])
    validation_pairs: int = key("pairs read of each validation dataset, always its first ones", 256)

    def __post_init__(self) -> None:
        check_sources(self.blend, self.validation)
        for name in ("seq_length", "prefetch", "validation_pairs"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}: {getattr(self, name)} is less than 1")
