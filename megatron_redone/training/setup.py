"""Puts a training run together, for every stage that trains: model, data, optimizer, callbacks, loop.

A stage says what is read and what is optimised (`Task`); everything else is here. To be started by torchrun,
or alone for one process.
"""

import dataclasses
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from megatron.core.distributed import DistributedDataParallel
from megatron.core.optimizer import MegatronOptimizer

from megatron_redone.checkpoint.record import TrainState, write_record
from megatron_redone.config.loader import to_yaml
from megatron_redone.config.model import Backend
from megatron_redone.config.training_stage import TrainingStageConfig
from megatron_redone.datasets.batch_loader import Loader
from megatron_redone.distributed import ParallelContext, destroy_context, start_context
from megatron_redone.distributed.collectives import errors_stop_all_ranks
from megatron_redone.formats.atomic import write_text
from megatron_redone.metrics.device_peaks import Arithmetic, peak_flops
from megatron_redone.metrics.flops import parameter_count, training_flops_per_token
from megatron_redone.metrics.progress import ConsoleTracker, scaled
from megatron_redone.metrics.throughput import Throughput
from megatron_redone.metrics.trackers import Trackers, open_trackers
from megatron_redone.models.build import Model, build_model
from megatron_redone.models.cuda_graphs import refuse_cuda_graphs
from megatron_redone.models.fp8_machine import check_fp8_rows
from megatron_redone.models.tensor_overlap import refuse_tensor_overlap, start_tensor_overlap
from megatron_redone.models.wrapping import wrap_data_parallel
from megatron_redone.training.best import BestSaver
from megatron_redone.training.inputs import (
    Inputs,
    OpenTask,
    check_initializable,
    check_resumable,
    read_inputs,
)
from megatron_redone.training.loop import Training, train
from megatron_redone.training.optimizer import build_optimizer
from megatron_redone.training.reporting import Reporter
from megatron_redone.training.saving import Saver, resume
from megatron_redone.training.stop_request import StopRequest
from megatron_redone.training.validation import Validator

log = logging.getLogger(__name__)

_EXIT_STOPPED = 143  # 128 + SIGTERM, as shells report it


@dataclass(frozen=True, kw_only=True)
class Trainee:
    """The model and what trains it, at the point where the run begins or goes on."""

    model: Model
    chunks: list[DistributedDataParallel]
    optimizer: MegatronOptimizer
    state: TrainState


def run_training(config: TrainingStageConfig, open_task: OpenTask) -> None:
    """Trains, and leaves checkpoints, metrics.jsonl and config.yaml in `output_dir`.

    Args:
        config: Of the stage, a dataclass.
        open_task: Opens its data, on every rank.

    Raises:
        UserError: in a run of one process, for anything that the user can mend.
        SystemExit: the same where there are more; and with code 143 after a stop that was asked for.
    """
    context = start_context(config.parallel, config.device, config.training.seed)
    if not context.is_main:
        logging.getLogger("megatron_redone").setLevel(logging.ERROR)
    with errors_stop_all_ranks():
        inputs = read_inputs(config, context, open_task)
        if context.is_main:
            inputs.folder.clean_up()
    trainee = _prepare(config, context, inputs)
    if trainee.state.step >= inputs.schedule.train_steps:
        log.info("complete already: step %d of %d", trainee.state.step, inputs.schedule.train_steps)
    else:
        _describe(config, context, inputs, trainee.model)
        _train(config, context, inputs, trainee)
    destroy_context()


def _prepare(config: TrainingStageConfig, context: ParallelContext, inputs: Inputs) -> Trainee:
    is_new = inputs.checkpoint is None and inputs.initial is None
    model = build_model(inputs.architecture, config.model, context, config.training.seed if is_new else None)
    with errors_stop_all_ranks():
        check_fp8_rows(config.model, config.parallel, config.training.micro_batch_size, config.data.seq_length)
        if inputs.task.lengths_vary:
            refuse_tensor_overlap(model.config)
        if inputs.task.packed:
            refuse_cuda_graphs(model.config)
        if inputs.checkpoint is not None:
            check_resumable(config, inputs, inputs.checkpoint)
        elif inputs.initial is not None:
            check_initializable(inputs, inputs.initial)
    if inputs.checkpoint is None and inputs.initial is not None:
        inputs.initial.fill(model)
    tokens_of_rank = config.training.micro_batch_size * config.data.seq_length // config.parallel.context_parallel_size
    start_tensor_overlap(model.config, tokens_of_rank)
    chunks = wrap_data_parallel(model)
    optimizer = build_optimizer(chunks, config.optimizer)
    state = TrainState()
    if inputs.checkpoint is not None:
        state = resume(inputs.checkpoint, model.chunks, optimizer)
        log.info("going on from %s", inputs.checkpoint)
    state = dataclasses.replace(state, data=inputs.task.identity)
    return Trainee(model=model, chunks=chunks, optimizer=optimizer, state=state)


def _train(config: TrainingStageConfig, context: ParallelContext, inputs: Inputs, trainee: Trainee) -> None:
    with errors_stop_all_ranks():
        objective = inputs.task.objective(context, trainee.model.backend is Backend.transformer_engine)
    throughput = Throughput(
        flops_per_token=training_flops_per_token(inputs.architecture, config.data.seq_length),
        devices=context.world_size,
        peak_flops=_device_peak(context),
    )
    trackers = _open_trackers(config, context, inputs, trainee.state.step)
    validator = Validator(
        inputs.task.validation,
        trainee.chunks,
        objective,
        inputs.layout,
        context,
        config.training.validate_every,
        trackers,
        throughput,
    )
    reporter = Reporter(
        config.metrics, trackers, throughput, inputs.schedule.train_steps, inputs.task.progress, context
    )
    saver = Saver(
        config.checkpoint,
        inputs.folder,
        trainee.model.chunks,
        trainee.optimizer,
        lambda path, state: write_record(path, to_yaml(config), state, inputs.hf_files),
        context,
        throughput,
    )
    best = [BestSaver(config.checkpoint, saver, validator)] if config.checkpoint.best_metric is not None else []
    training = Training(
        chunks=trainee.chunks,
        optimizer=trainee.optimizer,
        objective=objective,
        schedule=inputs.schedule,
        context=context,
        max_skipped_steps=config.training.max_skipped_steps,
    )
    state = trainee.state
    if state.step == 0:
        validator.validate(0)
    with (
        StopRequest() as stop,
        Loader(inputs.task.reader, consumed_samples=state.consumed_samples, prefetch=config.data.prefetch) as batches,
    ):
        state = train(training, state, batches, [reporter, validator, saver, *best], stop)
    if trackers is not None:
        trackers.close()
    _tell_the_end(inputs, state)


def _device_peak(context: ParallelContext) -> float | None:
    if context.device.type != "cuda":
        return None
    return peak_flops(torch.cuda.get_device_name(context.device), Arithmetic.bf16)


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
    for line in inputs.task.description:
        log.info("data: %s", line)
    _tell_epochs(inputs, steps * config.training.global_batch_size, "over the run")


def _tell_epochs(inputs: Inputs, samples: int, when: str) -> None:
    for source in inputs.task.progress(samples):
        log.info("data: %-20s %5.1f %%, %.3f epochs %s", source.name, 100 * source.share, source.epochs, when)


def _tell_the_end(inputs: Inputs, state: TrainState) -> None:
    _tell_epochs(inputs, state.consumed_samples, "read")
    if state.step < inputs.schedule.train_steps:
        log.info("stopped after step %d, as asked; the same command goes on from there", state.step)
        raise SystemExit(_EXIT_STOPPED)
