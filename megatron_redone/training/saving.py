"""The callback that saves checkpoints, and the load that a run resumes with."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.optimizer import MegatronOptimizer

from megatron_redone.checkpoint.checksums import read_checksums, write_checksums
from megatron_redone.checkpoint.folder import CheckpointFolder
from megatron_redone.checkpoint.record import TrainState, read_state
from megatron_redone.checkpoint.save_in_flight import SaveInFlight
from megatron_redone.checkpoint.staging import Staging
from megatron_redone.config.checkpoint import CheckpointConfig, OnDamage, OnSaveError
from megatron_redone.distributed.collectives import (
    StoppedOnAllRanks,
    broadcast_from_main,
    errors_stop_all_ranks,
    shared_failure,
)
from megatron_redone.distributed.context import ParallelContext
from megatron_redone.errors import DamageError, UserError
from megatron_redone.formats.atomic import disk_reason
from megatron_redone.formats.folder_checksums import FileBlocks
from megatron_redone.metrics.throughput import Throughput
from megatron_redone.training.loop import FinishedStep
from megatron_redone.training.model_state import full_state, load_full, load_weights

log = logging.getLogger(__name__)


@dataclass
class _Saving:
    """A save on its way.

    Attributes:
        best: The metric and the value by which it is the best, to be marked when it is committed.
    """

    state: TrainState
    best: tuple[str, float] | None
    save: SaveInFlight


class Saver:
    """Saves every `save_every` steps, and after the last one where `save_last` says so. At most one is in flight."""

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
            config: When, how, and what is kept.
            folder: Of the run's checkpoints.
            model_chunks: This rank's, unwrapped.
            optimizer: Built over them.
            write_record: Adds configuration, state and tokenizer files; called on the main rank, in a thread.
            context: This rank's place.
            throughput: Paused while training waits for a save.
        """
        self._config, self.folder, self._model_chunks, self._optimizer = config, folder, model_chunks, optimizer
        self._write_record, self._context, self._throughput = write_record, context, throughput
        self._staging = Staging()
        self._saving: _Saving | None = None
        self._stuck: _Saving | None = None
        self._failed_step = self._saved_step = -1
        self._best: float | None = None
        if config.best_metric is not None:
            self._best = broadcast_from_main(folder.best_value(config.best_metric))

    @property
    def best(self) -> float | None:
        """The value by which a checkpoint is the best; None where there is none."""
        return self._best if self._saving is None or self._saving.best is None else self._saving.best[1]

    def after_step(self, step: FinishedStep) -> None:
        """Saves when it is time; else looks how a save in flight stands."""
        every = self._config.save_every
        if (step.is_last and self._config.save_last) or (every is not None and step.state.step % every == 0):
            self.save(step.state, is_last=step.is_last)
        elif self._saving is not None and self._saving.save.look():
            self._settle()

    def save(self, state: TrainState, *, best: tuple[str, float] | None = None, is_last: bool = False) -> None:
        """Writes a checkpoint and commits it; it appears whole or not at all. For all ranks.

        Args:
            state: Where the run stands.
            best: The metric and the value by which it is to be marked as the best.
            is_last: Whether nothing follows: it is waited for, and must be written.
        """
        with self._throughput.paused():
            self.finish()
            self._begin(state, best, is_last)
            if is_last or not self._config.async_save:
                self.finish(is_last)

    def save_as_best(self, state: TrainState, metric: str, value: float) -> None:
        """Marks the checkpoint of a step as the best by a metric, and saves it before if it is not there."""
        if self._saving is not None and self._saving.state.step == state.step:
            self._saving.best = (metric, value)  # it is not committed within the step in which it began
        elif state.step != self._saved_step:  # a run that went back may have left one of this step: not of its weights
            if self._failed_step != state.step:
                self.save(state, best=(metric, value))
        else:
            problem = self._on_main(lambda: self._mark_and_prune(state, (metric, value)))
            if problem is None:
                self._best = value
            else:
                self._fail(state, problem, is_last=False)

    @contextmanager
    def finished_before_the_end(self) -> Iterator[None]:
        """Lets a save in flight come to its end where all ranks end by an error that is told."""
        try:
            yield
        except StoppedOnAllRanks:
            self.finish()
            raise
        except Exception:
            if self._context.world_size == 1:  # else the others may be anywhere
                self.finish()
            raise

    def finish(self, is_last: bool = False) -> None:
        """Waits for the save in flight, if there is one. For all ranks."""
        if self._saving is not None:
            if not self._saving.save.look():
                self._saving.save.wait()
            self._settle(is_last)

    def _begin(self, state: TrainState, best: tuple[str, float] | None, is_last: bool) -> None:
        problem = self._still_stuck() or self._on_main(lambda: self.folder.begin(state.step))
        if problem is not None:
            self._fail(state, problem, is_last)
            return
        held = full_state(self._model_chunks, self._optimizer)
        if self._config.async_save and not is_last:
            with errors_stop_all_ranks():
                held = self._staging.copy(held)
        partial, seconds = self.folder.partial(state.step), 60 * self._config.save_timeout_minutes
        save = SaveInFlight(held, partial, lambda blocks: self._commit(saving, blocks), seconds)
        self._saving = saving = _Saving(state, best, save)

    def _still_stuck(self) -> str | None:
        """Why nothing can be written yet: a thread that was given up would write beside the next."""
        if self._stuck is None:
            return None
        step = self._stuck.state.step
        if self._stuck.save.hangs():
            return f"that of step {step} still hangs"
        self._stuck = None
        return self._on_main(lambda: self.folder.abandon(step))

    def _settle(self, is_last: bool = False) -> None:
        """Draws the conclusions from a save that has ended."""
        saving = self._saving
        assert saving is not None
        self._saving, problem = None, saving.save.problem
        if problem is None:
            self._best = self._best if saving.best is None else saving.best[1]
            self._saved_step = saving.state.step
            return
        if saving.save.hangs():
            self._stuck = saving
        elif self._context.is_main:
            self.folder.abandon(saving.state.step)
        self._fail(saving.state, problem, is_last)

    def _fail(self, state: TrainState, problem: str, is_last: bool) -> None:
        self._failed_step = state.step
        text = f"{self.folder.of_step(state.step)}: the checkpoint could not be written ({problem})"
        if is_last or self._config.on_save_error is OnSaveError["stop"]:
            with errors_stop_all_ranks():
                raise UserError(text)
        log.warning("%s; the run goes on, and saves again when it is time", text)

    def _on_main(self, work: Callable[[], object]) -> str | None:
        """Does something on the main rank; on all ranks why it could not be done."""
        problem = None
        if self._context.is_main:
            try:
                work()
            except UserError as error:
                problem = str(error)
            except OSError as error:
                problem = disk_reason(error)
        return broadcast_from_main(problem)

    def _commit(self, saving: _Saving, blocks: FileBlocks) -> None:
        """On the main rank, in a thread, when all parts are on the disk."""
        partial = self.folder.partial(saving.state.step)
        self._write_record(partial, saving.state)
        write_checksums(partial, blocks)
        saving.save.check_wanted()
        final = self.folder.commit(saving.state.step)
        log.info("saved %s", final)
        self._mark_and_prune(saving.state, saving.best)

    def _mark_and_prune(self, state: TrainState, best: tuple[str, float] | None) -> None:
        if best is not None:
            self.folder.mark_best(state.step, *best)
        try:
            self.folder.prune(self._config.keep_last, self._config.keep_every, state.step)
        except OSError as error:  # what is new is written all the same
            log.warning("%s: older checkpoints could not be removed (%s)", self.folder.path, disk_reason(error))


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
