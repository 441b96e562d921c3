"""The callback that saves checkpoints, and the load that a run resumes with."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.optimizer import MegatronOptimizer

from megatron_redone.checkpoint.checksums import FileBlocks, read_checksums, write_checksums
from megatron_redone.checkpoint.folder import CheckpointFolder
from megatron_redone.checkpoint.record import TrainState, read_state
from megatron_redone.checkpoint.storage import save_sharded
from megatron_redone.config.checkpoint import CheckpointConfig, OnDamage
from megatron_redone.distributed.collectives import broadcast_from_main, errors_stop_all_ranks, shared_failure
from megatron_redone.distributed.context import ParallelContext
from megatron_redone.errors import DamageError, UserError
from megatron_redone.metrics.throughput import Throughput
from megatron_redone.training.loop import FinishedStep
from megatron_redone.training.model_state import full_state, load_full, load_weights

log = logging.getLogger(__name__)


class Saver:
    """Saves every `save_every` steps, and after the last one."""

    def __init__(
        self,
        *,
        config: CheckpointConfig,
        folder: CheckpointFolder,
        model_chunks: Sequence[GPTModel],
        optimizer: MegatronOptimizer,
        write_record: Callable[[Path, TrainState], None],
        context: ParallelContext,
        throughput: Throughput,
    ) -> None:
        """Takes what is saved and where to.

        Args:
            config: When, and what is kept.
            folder: Of the run's checkpoints.
            model_chunks: This rank's, unwrapped.
            optimizer: Built over them.
            write_record: Adds configuration, state and tokenizer files; called on the main rank.
            context: This rank's place.
            throughput: Paused while saving.
        """
        self._config, self.folder, self._model_chunks, self._optimizer = config, folder, model_chunks, optimizer
        self._write_record, self._context, self._throughput = write_record, context, throughput

    def after_step(self, step: FinishedStep) -> None:
        """Saves when it is time."""
        every = self._config.save_every
        if step.is_last or (every is not None and step.state.step % every == 0):
            with self._throughput.paused():
                self.save(step.state)

    def save(self, state: TrainState) -> None:
        """Writes a checkpoint and commits it; it appears whole or not at all."""
        with errors_stop_all_ranks():
            if self._context.is_main:
                self.folder.begin(state.step)
        partial = self.folder.partial(state.step)
        try:
            blocks = save_sharded(full_state(self._model_chunks, self._optimizer), partial)
        except UserError:
            if self._context.is_main:
                self.folder.abandon(state.step)
            with errors_stop_all_ranks():
                raise
        with errors_stop_all_ranks():
            if self._context.is_main:
                self._commit(partial, state, blocks)

    def save_as_best(self, state: TrainState, metric: str, value: float) -> None:
        """Marks the checkpoint of a step as the best by a metric, and saves it before if it is not there."""
        if not broadcast_from_main(self.folder.of_step(state.step).is_dir()):
            with self._throughput.paused():
                self.save(state)
        with errors_stop_all_ranks():
            if self._context.is_main:
                self.folder.mark_best(state.step, metric, value)
                self.folder.prune(self._config.keep_last, self._config.keep_every)

    def _commit(self, partial: Path, state: TrainState, blocks: FileBlocks) -> None:
        try:
            self._write_record(partial, state)
            write_checksums(partial, blocks)
            final = self.folder.commit(state.step)
        except OSError as error:
            self.folder.abandon(state.step)
            raise UserError(f"{partial}: the checkpoint could not be written ({error.strerror})") from None
        self.folder.prune(self._config.keep_last, self._config.keep_every)
        log.info("saved %s", final)


def resume(
    checkpoint: Path,
    folder: CheckpointFolder,
    on_damage: OnDamage,
    chunks: Sequence[GPTModel],
    optimizer: MegatronOptimizer,
) -> TrainState:
    """Restores weights and optimizer, on whatever layout, and says where the run stood.

    Args:
        checkpoint: To go on from.
        folder: Where those before it are.
        on_damage: Whether to take one of these where it is damaged.
        chunks: This rank's model chunks, unwrapped.
        optimizer: Built over them.
    """
    while True:
        try:
            with shared_failure(DamageError):
                state = read_state(checkpoint)
                load_full(chunks, optimizer, checkpoint)
            log.info("going on from %s", checkpoint)
            return state
        except DamageError as error:
            with errors_stop_all_ranks():
                checkpoint = _before(checkpoint, folder, on_damage, error)


def whole_checkpoint(checkpoint: Path | None, folder: CheckpointFolder, on_damage: OnDamage) -> Path | None:
    """The checkpoint itself, or the newest one before it whose small files are whole; tensors are not looked at.

    Raises:
        UserError: there is none, or none is to be taken in its place.
    """
    while checkpoint is not None:
        try:
            read_checksums(checkpoint).check_small_files()
            read_state(checkpoint)
            return checkpoint
        except DamageError as error:
            checkpoint = _before(checkpoint, folder, on_damage, error)
    return None


def _before(damaged: Path, folder: CheckpointFolder, on_damage: OnDamage, error: DamageError) -> Path:
    if on_damage is OnDamage.stop:
        raise UserError(f"{error} (checkpoint.on_damage=previous goes on from the one before)")
    before = folder.before(damaged)
    if before is None:
        raise UserError(f"{error}; there is none before it in {folder.path}")
    log.warning("%s; going on from %s instead", error, before.name)
    return before


def initialize(checkpoint: Path, chunks: Sequence[GPTModel]) -> None:
    """Takes the weights of a run's checkpoint and nothing else; before an optimizer is built."""
    with errors_stop_all_ranks():
        load_weights(chunks, checkpoint)
