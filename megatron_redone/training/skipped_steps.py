"""The callback that ends a run which does not move any more."""

from megatron_redone.distributed.collectives import errors_stop_all_ranks
from megatron_redone.errors import DivergedError
from megatron_redone.training.loop import FinishedStep


class SkippedSteps:
    """Counts the steps in a row that left the weights alone."""

    def __init__(self, most: int) -> None:
        """Takes the number of such steps after which the run ends, at least 1."""
        self._most, self._skipped = most, 0

    def after_step(self, step: FinishedStep) -> None:
        """Counts.

        Raises:
            DivergedError: too many steps in a row were skipped; on all ranks.
        """
        self._skipped = self._skipped + 1 if step.result.skipped else 0
        if self._skipped < self._most:
            return
        with errors_stop_all_ranks():
            raise DivergedError(
                f"step {step.state.step}: {self._skipped} steps in a row were skipped, the last one for "
                f"{step.result.fault}; lower optimizer.lr, look at the data around this step, or go on from an earlier "
                "checkpoint"
            )
