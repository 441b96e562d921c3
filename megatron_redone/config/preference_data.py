"""What preference optimisation reads: a weighted blend of pairs, and what it is validated on."""

import enum
from dataclasses import dataclass

from megatron_redone.config.data import TrainingDataConfig
from megatron_redone.config.field import key


class TooLongPair(enum.Enum):
    """What becomes of a pair that does not fit a row."""

    drop = "drop"
    refuse = "refuse"


@dataclass(frozen=True, kw_only=True)
class PreferenceDataConfig(TrainingDataConfig):
    """The training blend and the validation sources, as `redone prepare-preferences` writes them."""

    seq_length: int = key("tokens that a row may hold; both responses of a pair sit in one row", at_least=1)
    share_prompt: bool = key(
        "compute the prompt of a pair once for both responses (torch backend; arXiv 2410.20305)", False
    )
    too_long: TooLongPair = key("a pair longer than a row is left out, or stops the run", TooLongPair.drop)
    chat_template_of: str | None = key(
        "the source whose chat template the model leaves with, where they differ; model keeps its own", None
    )
    validation_pairs: int = key("pairs read of each validation dataset, always its first ones", 256, at_least=1)
