"""What a run does about steps that go wrong."""

from dataclasses import dataclass
from enum import Enum

from megatron_redone.config.field import key


class OnBadStep(Enum):
    """What follows a step that went wrong.

    tell trains on it and says so; skip leaves the weights as they were before it; rollback goes back to the newest
    checkpoint and leaves the samples of the step out; stop ends the run.
    """

    tell = "tell"
    skip = "skip"
    rollback = "rollback"
    stop = "stop"


class OnNotFinite(Enum):
    """Those of `OnBadStep` that NaN leaves: trained on, it would stay in the weights for ever."""

    skip = "skip"
    rollback = "rollback"
    stop = "stop"


@dataclass(frozen=True, kw_only=True)
class GuardConfig:
    """Steps without finite numbers, spikes, and ranks that stop or are slow."""

    on_not_finite: OnNotFinite = key(
        "what follows a step whose loss or gradient is infinite or NaN: skip leaves the weights as they were, rollback "
        "goes back to the newest checkpoint and leaves the samples out, stop ends the run",
        OnNotFinite.skip,
        decides=False,
    )
    on_spike: OnBadStep = key(
        "what follows a step whose loss or gradient norm lies far above those of the steps before: tell trains on it "
        "and says so; the others are as for on_not_finite",
        OnBadStep.tell,
        decides=False,
    )
    spike_deviations: float | None = key(
        "how far: so many robust deviations (1.4826 times the median distance from the median) above their median; "
        "null looks for no spikes",
        10.0,
        decides=False,
        above=0,
    )
    spike_window: int = key("how many of the steps before a spike are compared with", 100, decides=False, at_least=20)
    left_out_steps: int = key(
        "rollback leaves out the samples of so many steps: the one that went wrong and those right before it",
        1,
        decides=False,
        at_least=1,
    )
    max_rollbacks: int = key("after so many rollbacks the next one ends the run", 3, decides=False, at_least=1)

    hang_minutes: float | None = key(
        "without a step for so long the run ends: the stacks of all ranks are written to OUTPUT_DIR/hangs, and those "
        "that are waited for are named; null never ends it so",
        10.0,
        decides=False,
        above=0,
    )
    slow_rank_factor: float | None = key(
        "a rank is called slow whose own work of a step, without waiting for others, takes so many times as long as "
        "the median rank's; null calls none so",
        1.5,
        decides=False,
        above=1,
    )
