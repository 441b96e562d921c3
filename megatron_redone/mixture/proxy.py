"""One small run: a mixture and a seed, trained by our own pretraining, and its losses in a file."""

import dataclasses
import math
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from megatron_redone.config.checkpoint import CheckpointConfig
from megatron_redone.config.data import BlendSource, DataConfig, DataSource
from megatron_redone.config.metrics import MetricsConfig
from megatron_redone.config.optimize_mixture import OptimizeMixtureConfig
from megatron_redone.config.pretrain import PretrainConfig
from megatron_redone.config.training import TrainingConfig
from megatron_redone.errors import DivergedError
from megatron_redone.formats.done_check import read_sealed, write_sealed
from megatron_redone.metrics.metrics_file import recorded_metrics
from megatron_redone.metrics.progress import VALIDATION

_RESULT, _LOG = "result.json", "log.txt"
_NEVER = 1_000_000_000
_LOST = 2.0  # times the loss at the beginning: a run that ends there has learned nothing


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """A small run.

    Attributes:
        name: For people.
        weights: Of the sources, by name; those of weight 0 are left out.
        seed: Of its first weights and of the order of samples.
    """

    name: str
    weights: Mapping[str, float]
    seed: int


@dataclass(frozen=True, kw_only=True)
class ProxyResult:
    """What a small run came to.

    Attributes:
        losses: Of each target set at its end, in nats a token; empty where it diverged.
        seconds: That it took.
        diverged: What went wrong; None where nothing did.
    """

    losses: Mapping[str, float]
    seconds: float
    diverged: str | None


@dataclass(frozen=True, kw_only=True)
class ProxyTask:
    """A small run as a process is handed it.

    Attributes:
        config: Of its pretraining; its `output_dir` is the run's folder.
        threads: Of this machine's cores, for the products of one run.
    """

    config: PretrainConfig
    threads: int


def pretraining_of(proxy: Proxy, config: OptimizeMixtureConfig, initial: Path | None, folder: Path) -> PretrainConfig:
    """The settings of `redone pretrain` that a small run is.

    Args:
        proxy: The run.
        config: The search.
        initial: The folder of the first weights, which the search has found once; None draws them.
        folder: The run's own.
    """
    paths = {source.label: source.path for source in config.sources}
    own = config.proxy
    return PretrainConfig(
        output_dir=str(folder),
        init_from=None if initial is None else str(initial),
        tokenizer=own.tokenizer,
        device=config.device,
        model=own.model,
        data=DataConfig(
            blend=[
                BlendSource(path=paths[name], name=name, weight=weight)
                for name, weight in proxy.weights.items()
                if weight > 0
            ],
            seq_length=own.seq_length,
            seed=proxy.seed,
            validation=[DataSource(path=one.path, name=one.label) for one in config.target],
            validation_samples=own.target_samples,
            isolate_documents=own.isolate_documents,
        ),
        training=TrainingConfig(
            global_batch_size=own.global_batch_size,
            micro_batch_size=own.micro_batch_size,
            train_tokens=own.train_tokens,
            seed=proxy.seed,
        ),
        optimizer=own.optimizer,
        checkpoint=CheckpointConfig(save_every=None, save_last=False),
        metrics=MetricsConfig(log_interval=_NEVER),
    )


def train_proxy(task: ProxyTask, slot: int) -> None:
    """Trains in this process, which is to do nothing else, and leaves result.json in the run's folder.

    What it says goes to log.txt there. One that diverges has a result that says so.

    Args:
        task: What to train.
        slot: Of the small runs at the same time, which this is: a GPU each, where there are some.

    Raises:
        UserError: it cannot be trained.
    """
    import torch

    from megatron_redone.training.pretraining import pretrain

    folder, started = Path(task.config.output_dir), time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    _speak_to(folder / _LOG)
    torch.set_num_threads(task.threads)
    if torch.cuda.is_available():
        os.environ["LOCAL_RANK"] = str(slot % torch.cuda.device_count())
    diverged, losses = None, dict[str, float]()
    try:
        pretrain(task.config)
        losses, diverged = _losses(folder)
    except DivergedError as error:
        diverged = str(error)
    result = ProxyResult(losses={} if diverged else losses, seconds=time.monotonic() - started, diverged=diverged)
    write_sealed(folder / _RESULT, dataclasses.asdict(result))


def read_result(folder: Path) -> ProxyResult | None:
    """What a run came to; None where it has not ended, or what it left is damaged."""
    content, is_intact = read_sealed(folder / _RESULT)
    if content is None or not is_intact:
        return None
    return ProxyResult(losses=content["losses"], seconds=content["seconds"], diverged=content["diverged"])


def _speak_to(log: Path) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _losses(folder: Path) -> tuple[dict[str, float], str | None]:
    """The losses at the end, and what is wrong with them."""
    by_step: list[dict[str, float]] = []
    with open(folder / "metrics.jsonl", "rb") as stream:
        for _, figures in recorded_metrics(stream):
            losses = {
                name.removeprefix(VALIDATION).removesuffix("/loss"): value
                for name, value in figures.items()
                if name.startswith(VALIDATION) and name.endswith("/loss")
            }
            if losses:
                by_step.append(losses)
    first, last = by_step[0], by_step[-1]
    for name, loss in last.items():
        if not math.isfinite(loss):
            return last, f"the loss of {name} is {loss}"
        if loss > _LOST * first[name]:
            return last, f"the loss of {name} rose from {first[name]:.2f} to {loss:.2f}"
    return last, None
