"""The callback that ends a run whose gradients stay infinite or NaN."""

from megatron_redone.distributed.collectives import errors_stop_all_ranks
from megatron_redone.errors import UserError
from megatron_redone.training.loop import FinishedStep


class SkipGuard:
    """Counts the steps in a row that left the weights alone."""

    def __init__(self, max_skipped_steps: int) -> None:
        """Takes the number of such steps after which the run ends, at least 1."""
        self._limit, self._skipped = max_skipped_steps, 0

    def after_step(self, step: FinishedStep) -> None:
        """Counts.

        Raises:
            UserError: too many steps in a row had no finite gradients; on all ranks.
        """
        self._skipped = self._skipped + 1 if step.result.skipped else 0
        if self._skipped < self._limit:
            return
        with errors_stop_all_ranks():
            raise UserError(
                f"step {step.state.step}: {self._skipped} steps in a row had no finite gradients; lower optimizer.lr, "
                "look at the data around this step, or go on from an earlier checkpoint"
            )
