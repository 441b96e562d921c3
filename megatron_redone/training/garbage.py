"""Python's garbage collector, run after the same steps on all ranks.

By itself it runs on every rank at another moment and stops it for a tenth of a second; all others wait for that rank.
"""

import gc
from types import TracebackType

from megatron_redone.training.loop import FinishedStep


class ScheduledGarbage:
    """A callback, and a context within which nothing else collects."""

    def __init__(self, every: int | None) -> None:
        """Takes the steps between two collections; None leaves them to Python."""
        self._every = every

    def after_step(self, step: FinishedStep) -> None:
        """Collects when it is time."""
        if self._every is not None and step.state.step % self._every == 0:
            gc.collect()

    def __enter__(self) -> "ScheduledGarbage":
        if self._every is not None:
            gc.collect()
            gc.freeze()  # modules and the model stay: no collection looks at them again
            gc.disable()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        if self._every is not None:
            gc.enable()
            gc.unfreeze()
