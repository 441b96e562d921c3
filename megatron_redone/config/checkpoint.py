"""When a run saves, what it keeps, and what it goes on from."""

from dataclasses import dataclass
from enum import Enum

from megatron_redone.config.field import key


class OnDamage(Enum):
    """What a run does that finds its newest checkpoint damaged."""

    previous = "previous"
    stop = "stop"


# Called by its values, of which one is a word of Python.
OnSaveError = Enum("OnSaveError", {"continue": "continue", "stop": "stop"})


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """Checkpoints of a training run."""

    save_dir: str | None = key("where checkpoints go; null takes output_dir/checkpoints", None, writes=True)
    save_every: int | None = key("steps between two; null saves at the end only", 500, decides=False, at_least=1)
    save_last: bool = key(
        "save the last step; false is for runs of which only the figures are wanted", True, decides=False
    )
    keep_last: int | None = key("how many of the newest stay; null keeps all", 2, decides=False, at_least=1)
    keep_every: int | None = key(
        "checkpoints at multiples of this step stay as well; null for none", None, decides=False, at_least=1
    )
    async_save: bool = key(
        "write while training goes on, from a copy in the host's memory, which takes as much of it as a checkpoint has",
        False,
        decides=False,
    )
    on_save_error: OnSaveError = key(
        "continue goes on where a checkpoint cannot be written, and tells; stop ends the run. That of the last step "
        "must be written",
        OnSaveError["continue"],
        decides=False,
    )
    save_timeout_minutes: float = key(
        "a checkpoint that is not on the disk after this time could not be written", 60.0, decides=False, above=0
    )
    resume: bool = key(
        "go on from the newest checkpoint where there is one; false refuses such a folder", True, decides=False
    )
    on_damage: OnDamage = key(
        "previous goes on from the newest checkpoint that is whole where a newer one is damaged; stop ends the run",
        OnDamage.previous,
        decides=False,
    )
    best_metric: str | None = key(
        "the checkpoint that is best by this figure stays as well, for example validation/social/loss; init_from and "
        "export-hf take it as RUN/best",
        None,
    )
    accept_changed_data: bool = key(
        "resume although the blend, its seed or its files are not those of before", False, decides=False
    )
