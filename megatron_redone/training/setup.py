"""Puts a training run together, for every stage that trains: model, data, optimizer, callbacks, loop.

A stage says what is read (`RunData`) and what is optimised; everything else is here. To be started by torchrun,
or alone for one process.
"""

import dataclasses
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from megatron.core.distributed import DistributedDataParallel
from megatron.core.optimizer import MegatronOptimizer

from megatron_redone.batches.row_placer import RowPlacer
from megatron_redone.checkpoint.record import TrainState, write_record
from megatron_redone.config.bf16_rounding import Bf16Rounding
from megatron_redone.config.loader import to_yaml
from megatron_redone.config.model import Precision
from megatron_redone.config.training_stage import TrainingStageConfig
from megatron_redone.datasets.batch_loader import Loader
from megatron_redone.distributed import ParallelContext, destroy_context, start_context
from megatron_redone.distributed.collectives import broadcast_from_main, errors_stop_all_ranks
from megatron_redone.distributed.determinism import make_deterministic
from megatron_redone.formats.atomic import write_text
from megatron_redone.formats.lock import folder_lock
from megatron_redone.metrics.device_peaks import Arithmetic, peak_flops
from megatron_redone.metrics.flops import parameter_count, training_flops_per_token
from megatron_redone.metrics.progress import ConsoleTracker, scaled
from megatron_redone.metrics.throughput import Throughput
from megatron_redone.metrics.trackers import Trackers, open_trackers
from megatron_redone.models.build import Model, build_model
from megatron_redone.models.cuda_graphs import refuse_cuda_graphs
from megatron_redone.models.fp8_machine import check_fp8_rows
from megatron_redone.models.precision import resolve_precision
from megatron_redone.models.tensor_overlap import refuse_tensor_overlap, start_tensor_overlap
from megatron_redone.models.wrapping import wrap_data_parallel
from megatron_redone.objectives import Objective
from megatron_redone.processes.environment import settings
from megatron_redone.processes.parent import end_launcher
from megatron_redone.training.agreed_batches import agreed
from megatron_redone.training.best import BestSaver
from megatron_redone.training.dithering import dither_main_weights
from megatron_redone.training.garbage import ScheduledGarbage
from megatron_redone.training.hang_watch import HangWatch, unwatched
from megatron_redone.training.loop import Callback, Ended, Training, train
from megatron_redone.training.optimizer import build_optimizer
from megatron_redone.training.profiling import RankTimes, StepProfiler
from megatron_redone.training.reporting import Reporter
from megatron_redone.training.rollback import Rollbacks
from megatron_redone.training.run_inputs import (
    ConfigT,
    Inputs,
    OpenData,
    check_initializable,
    check_resumable,
    checkpoints_path,
    read_inputs,
    recorded_precision,
)
from megatron_redone.training.saving import Saver, resume, whole_checkpoint
from megatron_redone.training.skipped_steps import SkippedSteps
from megatron_redone.training.small_steps import are_dithered
from megatron_redone.training.step_guard import StepGuard
from megatron_redone.training.stochastic_copies import round_copies_stochastically
from megatron_redone.training.stop_request import EXIT_STOPPED, StopRequest
from megatron_redone.training.validator import Validator

log = logging.getLogger(__name__)


MakeObjective = Callable[[ConfigT, RowPlacer], Objective]
"""Makes a stage's objective for a model.

Raises:
    UserError: the model's attention cannot do what is asked.
"""


@dataclass(frozen=True, kw_only=True)
class TrainingSetup:
    """The model and what trains it, at the point where the run begins or goes on."""

    model: Model
    wrapped_chunks: list[DistributedDataParallel]
    optimizer: MegatronOptimizer
    objective: Objective
    state: TrainState
    rank_times: RankTimes | None


@dataclass(frozen=True, kw_only=True)
class _Callbacks:
    reporter: Reporter
    validator: Validator
    saver: Saver
    best: BestSaver | None
    skipped: SkippedSteps
    profiler: StepProfiler
    garbage: ScheduledGarbage

    def in_order(self, watch: HangWatch) -> list[Callback]:
        saving = [self.saver] if self.best is None else [self.saver, self.best]
        unlimited = [unwatched(callback, watch) for callback in saving]  # saving has a limit of its own
        # The profiler before all others: what they do is no part of a step.
        return [self.profiler, self.reporter, self.validator, *unlimited, self.skipped, self.garbage, watch]


def run_training(config: ConfigT, open_data: OpenData[ConfigT], make_objective: MakeObjective[ConfigT]) -> None:
    """Trains, and leaves checkpoints, metrics.jsonl and config.yaml in `output_dir`.

    Args:
        config: Of the stage, a dataclass.
        open_data: Opens its data, on every rank.
        make_objective: Makes what it optimises, on every rank.

    Raises:
        UserError: in a run of one process, for anything that the user can fix.
        SystemExit: the same where there are more; and with code 143 after a stop that was asked for.
    """
    started = time.monotonic()
    if config.training.deterministic:
        make_deterministic()
    context = start_context(config.parallel, config.device, config.training.seed)
    if not context.is_main:
        logging.getLogger("megatron_redone").setLevel(logging.ERROR)
    with _only_run(config, context):
        config = _resolve(config, context)
        with errors_stop_all_ranks():
            inputs = read_inputs(config, context, open_data)
            checkpoint = None
            if context.is_main:
                inputs.folder.clean_up()
                checkpoint = whole_checkpoint(inputs.checkpoint, inputs.folder, config.checkpoint.on_damage)
        inputs = dataclasses.replace(inputs, checkpoint=broadcast_from_main(checkpoint))
        setup = _set_up(config, context, inputs, make_objective)
        if setup.state.step >= inputs.schedule.train_steps:
            log.info("complete already: step %d of %d", setup.state.step, inputs.schedule.train_steps)
        else:
            _describe(config, context, inputs, setup.model)
            minutes = config.training.stop_after_minutes
            stop = StopRequest(None if minutes is None else started + 60 * minutes)
            _train_and_go_back(config, context, inputs, setup, stop)
    destroy_context()


def _resolve(config: ConfigT, context: ParallelContext) -> ConfigT:
    """Replaces what is left to this machine by what it decides; the main rank decides for all, and records it."""
    with errors_stop_all_ranks():
        model = resolve_precision(config.model, context.device, recorded_precision(config))
    return dataclasses.replace(config, model=broadcast_from_main(model))


@contextmanager
def _only_run(config: TrainingStageConfig, context: ParallelContext) -> Iterator[None]:
    """Keeps a second run away from the checkpoints. For all ranks; the main one holds the lock."""
    with ExitStack() as held:
        with errors_stop_all_ranks():
            if context.is_main:
                key = "output_dir" if config.checkpoint.save_dir is None else "checkpoint.save_dir"
                held.enter_context(folder_lock(checkpoints_path(config), key))
        yield


def _set_up(
    config: ConfigT, context: ParallelContext, inputs: Inputs, make_objective: MakeObjective[ConfigT]
) -> TrainingSetup:
    is_new = inputs.checkpoint is None and inputs.initial is None
    model = build_model(inputs.architecture, config.model, context, config.training.seed if is_new else None)
    with errors_stop_all_ranks():
        _check_model(config, inputs, model)
        objective = make_objective(config, model.row_placer)
    if inputs.checkpoint is None and inputs.initial is not None:
        inputs.initial.fill(model)
    tokens_of_rank = config.training.micro_batch_size * config.data.seq_length // config.parallel.context_parallel_size
    start_tensor_overlap(model.config, tokens_of_rank)
    wrapped_chunks = wrap_data_parallel(model)
    optimizer = build_optimizer(wrapped_chunks, config.optimizer)
    if config.optimizer.bf16_rounding is Bf16Rounding.stochastic:
        round_copies_stochastically(model, optimizer, config.training.seed)
    state = TrainState()
    if inputs.checkpoint is not None:
        state = resume(inputs.checkpoint, inputs.folder, config.checkpoint.on_damage, model.chunks, optimizer)
        with errors_stop_all_ranks():
            if context.is_main:
                inputs.folder.forget_later_best(state.step)
    elif are_dithered(config.optimizer, config.model, given=inputs.initial is not None):
        dither_main_weights(model, optimizer, config.training.seed)
    return TrainingSetup(
        model=model,
        wrapped_chunks=wrapped_chunks,
        optimizer=optimizer,
        objective=objective,
        state=dataclasses.replace(state, data=inputs.data.identity),
        rank_times=RankTimes(model.config, context.device) if config.metrics.rank_times else None,
    )


def _check_model(config: TrainingStageConfig, inputs: Inputs, model: Model) -> None:
    check_fp8_rows(config.model, config.parallel, config.training.micro_batch_size, config.data.seq_length)
    if inputs.data.lengths_vary:
        refuse_tensor_overlap(model.config)
    if inputs.data.packed:
        refuse_cuda_graphs(model.config)
    if inputs.checkpoint is not None:
        check_resumable(config, inputs, inputs.checkpoint)
    elif inputs.initial is not None:
        check_initializable(inputs, inputs.initial)


def _train_and_go_back(
    config: TrainingStageConfig, context: ParallelContext, inputs: Inputs, setup: TrainingSetup, stop: StopRequest
) -> None:
    rollbacks = Rollbacks(config, inputs.folder, setup.model.chunks, setup.optimizer)
    ended = _train(config, context, inputs, setup, stop)
    while ended.leave_out is not None:
        state = rollbacks.go_back(ended.state, ended.leave_out)
        ended = _train(config, context, inputs, dataclasses.replace(setup, state=state), stop)
    _log_end(inputs, ended.state)
    if ended.state.step < inputs.schedule.train_steps:
        if stop.is_unknown_to_launcher:
            end_launcher()
        raise SystemExit(EXIT_STOPPED)


def _train(
    config: TrainingStageConfig, context: ParallelContext, inputs: Inputs, setup: TrainingSetup, stop: StopRequest
) -> Ended:
    trackers = _open_trackers(config, context, inputs, setup.state.step)
    callbacks = _callbacks(config, context, inputs, setup, trackers)
    if setup.state.step == 0:
        callbacks.validator.validate(0)
    training = Training(
        model_chunks=setup.wrapped_chunks,
        optimizer=setup.optimizer,
        objective=setup.objective,
        schedule=inputs.schedule,
        guard=StepGuard(config.guards, setup.state.recent),
    )
    loader = Loader(
        inputs.data.reader,
        consumed_samples=setup.state.consumed_samples,
        prefetch=config.data.prefetch,
        pin=context.device.type == "cuda",
    )
    watch = HangWatch(config.guards, context, Path(config.output_dir) / "hangs")
    watch.watch_forward(setup.wrapped_chunks)
    with stop, watch, loader as batches, callbacks.saver.finished_before_the_end(), callbacks.garbage:
        ended = train(training, setup.state, agreed(batches), callbacks.in_order(watch), stop)
    callbacks.saver.finish()
    if trackers is not None:
        trackers.close()
    return ended


def _callbacks(
    config: TrainingStageConfig,
    context: ParallelContext,
    inputs: Inputs,
    setup: TrainingSetup,
    trackers: Trackers | None,
) -> _Callbacks:
    throughput = Throughput(
        flops_per_token=training_flops_per_token(inputs.architecture, config.data.seq_length),
        devices=context.world_size,
        peak_flops=_device_peak(context.device, config.model.precision),
    )
    validator = Validator(
        sets=inputs.data.validation,
        model_chunks=setup.wrapped_chunks,
        objective=setup.objective,
        batch_slice=inputs.batch_slice,
        every=config.training.validate_every,
        trackers=trackers,
        throughput=throughput,
    )
    saver = Saver(
        config=config.checkpoint,
        folder=inputs.folder,
        model_chunks=setup.model.chunks,
        optimizer=setup.optimizer,
        write_record=lambda path, state: write_record(path, to_yaml(config), state, inputs.hf_files, inputs.hf_texts),
        context=context,
        throughput=throughput,
    )
    return _Callbacks(
        reporter=Reporter(
            config=config.metrics,
            trackers=trackers,
            throughput=throughput,
            train_steps=inputs.schedule.train_steps,
            progress=inputs.data.progress,
            context=context,
            rank_times=setup.rank_times,
        ),
        validator=validator,
        saver=saver,
        best=BestSaver(config.checkpoint, saver, validator) if config.checkpoint.best_metric is not None else None,
        skipped=SkippedSteps(config.training.max_skipped_steps),
        profiler=StepProfiler(config.metrics, config.output_dir, context, setup.state.step),
        garbage=ScheduledGarbage(config.training.gc_every),
    )


def _device_peak(device: torch.device, precision: Precision) -> float | None:
    """Operations a second that a device can do at most in the type of the run's matrix products; None if unknown."""
    if device.type != "cuda":
        return None
    arithmetic = Arithmetic.fp8 if precision is Precision.fp8 else Arithmetic.bf16
    return peak_flops(torch.cuda.get_device_name(device), arithmetic)


def _open_trackers(config: TrainingStageConfig, context: ParallelContext, inputs: Inputs, step: int) -> Trackers | None:
    trackers = None
    with errors_stop_all_ranks():
        if context.is_main:
            folder = Path(config.output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / "config.yaml", to_yaml(config))
            console = ConsoleTracker(sys.stdout, inputs.schedule.train_steps)
            trackers = open_trackers(
                config.metrics,
                folder,
                resumed_step=step,
                run_config=dataclasses.asdict(config),  # type: ignore[call-overload]
                console=console,
            )
    return trackers


def _describe(config: TrainingStageConfig, context: ParallelContext, inputs: Inputs, model: Model) -> None:
    parallel, steps = config.parallel, inputs.schedule.train_steps
    log.info(
        "model: %s with %s parameters, %s, %s backend on %s",
        inputs.architecture.model_type,
        scaled(parameter_count(inputs.architecture)),
        config.model.precision.name,
        model.backend.name,
        context.device.type,
    )
    log.info(
        "layout: %d processes = tensor %d x pipeline %d x context %d x data %d",
        context.world_size,
        parallel.tensor_model_parallel_size,
        parallel.pipeline_model_parallel_size,
        parallel.context_parallel_size,
        context.data_size,
    )
    log.info(
        "batch: %d samples, rows of %d tokens; %d steps",
        config.training.global_batch_size,
        config.data.seq_length,
        steps,
    )
    if context.device.type == "cuda":
        log.info("environment: %s", _environment(config))
        log.info("weight gradients: added up within the products by %s", model.weight_gradients)
    for line in inputs.data.description:
        log.info("data: %s", line)
    _log_epochs(inputs, steps * config.training.global_batch_size, "over the run")


def _environment(config: TrainingStageConfig) -> str:
    """What processes/environment.py looks after, as it is."""
    names = [setting.name for setting in settings(config.parallel, metrics=config.metrics)]
    return " ".join(f"{name}={os.environ[name]}" for name in names if name in os.environ)


def _log_epochs(inputs: Inputs, samples: int, when: str) -> None:
    for source in inputs.data.progress(samples):
        log.info("data: %-20s %5.1f %%, %.3f epochs %s", source.name, 100 * source.fraction, source.epochs, when)


def _log_end(inputs: Inputs, state: TrainState) -> None:
    _log_epochs(inputs, state.consumed_samples, "read")
    if state.step < inputs.schedule.train_steps:
        log.info("stopped after step %d, as asked; the same command goes on from there", state.step)
