"""How long a run trains, in which batches, and when it looks at validation."""

import math
from dataclasses import dataclass

from megatron_redone.config.field import key
from megatron_redone.errors import UserError

_LENGTHS = ("train_steps", "train_tokens", "train_epochs")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Length and batch of a run."""

    global_batch_size: int = key("samples of one step, over all processes", at_least=1)
    micro_batch_size: int = key("samples that go through a model at once", 1, decides=False, at_least=1)
    train_steps: int | None = key("steps of the run; or give train_tokens, or train_epochs", None, at_least=1)
    train_tokens: int | None = key("tokens of the run, padding included, rounded up to whole steps", None, at_least=1)
    train_epochs: float | None = key(
        "times that as many samples are read as all sources hold together, rounded up to whole steps", None, above=0
    )
    validate_every: int | None = key(
        "steps between two validations; null validates at the start and end only", None, at_least=1
    )
    max_skipped_steps: int = key(
        "this many steps in a row without finite gradients end the run", 10, decides=False, at_least=1
    )
    stop_after_minutes: float | None = key(
        "the run saves and ends after the step in which it comes to this age, counted from its start; the same command "
        "goes on; null ends it at its last step only",
        None,
        decides=False,
        above=0,
    )
    deterministic: bool = key(
        "the same bits from every repetition on CUDA too, for kernels that are slower; on CPU they always are",
        False,
        decides=False,
    )
    seed: int = key("seed of random weights", 1234)
    gc_every: int | None = key(
        "steps between two runs of Python's garbage collector, after the same step on all processes; null leaves it to "
        "Python, which stops one process after the other",
        100,
        decides=False,
        at_least=1,
    )

    def __post_init__(self) -> None:
        lengths = [name for name in _LENGTHS if getattr(self, name) is not None]
        if len(lengths) != 1:
            raise UserError(f"train_steps: give one of {', '.join(_LENGTHS)}, not {len(lengths)} of them")

    def steps(self, seq_length: int, samples_per_epoch: int) -> int:
        """Steps of the run, for samples of `seq_length` tokens of which all sources together hold so many."""
        if self.train_steps is not None:
            return self.train_steps
        if self.train_tokens is not None:
            return -(-self.train_tokens // (self.global_batch_size * seq_length))
        assert self.train_epochs is not None
        return math.ceil(self.train_epochs * samples_per_epoch / self.global_batch_size)
