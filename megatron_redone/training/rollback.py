"""Going back to the newest checkpoint, because a step went wrong."""

import dataclasses
import logging
from collections.abc import Sequence

from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.optimizer import MegatronOptimizer

from megatron_redone.checkpoint.folder import CheckpointFolder
from megatron_redone.checkpoint.record import TrainState
from megatron_redone.config.training_stage import TrainingStageConfig
from megatron_redone.distributed.collectives import broadcast_from_main, errors_stop_all_ranks
from megatron_redone.errors import UserError
from megatron_redone.training.samples import SampleRange
from megatron_redone.training.saving import resume

log = logging.getLogger(__name__)


class Rollbacks:
    """Counts them, for a run that goes back again and again does not get ahead."""

    def __init__(
        self,
        config: TrainingStageConfig,
        folder: CheckpointFolder,
        chunks: Sequence[GPTModel],
        optimizer: MegatronOptimizer,
    ) -> None:
        """Takes what is restored: this rank's model chunks, unwrapped, and the optimizer that was built over them."""
        self._config, self._folder, self._chunks, self._optimizer = config, folder, chunks, optimizer
        self._count = 0

    def go_back(self, now: TrainState, leave_out: SampleRange) -> TrainState:
        """Restores the newest checkpoint, or leaves all as it is where there is none. For all ranks.

        Args:
            now: Where the run stands, before the step that went wrong.
            leave_out: What is not trained on from here on.

        Returns:
            Where to go on from.

        Raises:
            UserError: it has gone back too often.
        """
        self._count += 1
        with errors_stop_all_ranks():
            if self._count > self._config.guards.max_rollbacks:
                raise UserError(
                    f"step {now.step + 1}: this run has gone back {self._count - 1} times already "
                    "(guards.max_rollbacks); lower optimizer.lr, or look at the data around this step"
                )
        checkpoint = broadcast_from_main(self._folder.latest())
        state = now
        if checkpoint is None:
            log.warning("there is no checkpoint to go back to yet: going on from step %d as it is", now.step)
        else:
            state = resume(checkpoint, self._folder, self._config.checkpoint.on_damage, self._chunks, self._optimizer)
        left_out = [*now.left_out, [leave_out.first, leave_out.last]]
        return dataclasses.replace(state, data=now.data, left_out=left_out)
