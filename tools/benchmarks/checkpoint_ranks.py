"""What each rank of tools/benchmarks/checkpoints.py does; to be started by torchrun.

The job `saves` runs under the code of before the rectangles too: it imports what both have.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from megatron.core.optimizer import MegatronOptimizer

from megatron_redone.architectures import parse_architecture
from megatron_redone.checkpoint.folder import CheckpointFolder
from megatron_redone.checkpoint.record import TrainState, write_record
from megatron_redone.config.checkpoint import CheckpointConfig
from megatron_redone.config.model import Backend, ModelConfig, Precision
from megatron_redone.config.optimizer import OptimizerConfig
from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.distributed import ParallelContext, destroy_context, start_context
from megatron_redone.models.build import Model, build_model
from megatron_redone.models.wrapping import wrap_data_parallel
from megatron_redone.training.optimizer import build_optimizer
from megatron_redone.training.saving import Saver

_SHAPE = {
    **{"model_type": "llama", "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "tie_word_embeddings": True},
    **{"num_attention_heads": 16, "num_key_value_heads": 16, "hidden_act": "silu"},
}
LARGE = {**_SHAPE, "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "vocab_size": 98304}
"""503 million parameters; 235 million of them with 8 layers."""
SMALL = {**_SHAPE, "hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 6, "vocab_size": 8192}
"""14 million parameters, for steps that a processor makes in seconds."""


@dataclasses.dataclass(frozen=True)
class Rank:
    """What a job works on."""

    options: argparse.Namespace
    context: ParallelContext
    model: Model
    wrapped: Sequence[Any]
    optimizer: MegatronOptimizer

    def saver(self, **keys: Any) -> Saver:
        """Writes to the folder of the benchmark, and keeps the newest."""
        return Saver(
            config=CheckpointConfig(save_every=None, keep_last=1, **keys),
            folder=CheckpointFolder(Path(self.options.folder)),
            model_chunks=self.model.chunks,
            optimizer=self.optimizer,
            write_record=lambda path, state: write_record(path, "", state, {}),
            context=self.context,
            throughput=SimpleNamespace(paused=nullcontext),  # type: ignore[arg-type]
        )


def main() -> None:
    """Does one job; the main rank writes what came of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--job", choices=list(JOBS), required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--answer", required=True)
    parser.add_argument("--repeats", type=int, required=True)
    parser.add_argument("--layers", type=int, default=24, help="of the large model")
    parser.add_argument("--tokens", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = JOBS[options.job](prepare(options))
    if dist.get_rank() == 0:
        Path(options.answer).write_text(json.dumps(found))
    destroy_context()


def prepare(options: argparse.Namespace) -> Rank:
    """Model and optimizer with its state: large in bf16 on tensor 2 x data 2, or small in fp32 on data 4."""
    trains = options.job == "steps"
    parallel = ParallelConfig() if trains else ParallelConfig(tensor_model_parallel_size=2)
    context = start_context(parallel, Device.cpu)
    precision = Precision.fp32 if trains else Precision.bf16
    compute = ModelConfig(hf_config="none", precision=precision, backend=Backend.torch)
    shape = SMALL if trains else {**LARGE, "num_hidden_layers": options.layers}
    model = build_model(parse_architecture(shape), compute, context, seed=1)
    wrapped = wrap_data_parallel(model)
    optimizer = build_optimizer(wrapped, OptimizerConfig(lr=1e-4))
    for part in getattr(optimizer, "chained_optimizers", [optimizer]):
        part.init_state_fn(part.optimizer, part.config)
    if not trains:  # gradients are of no use here, and take as much memory as main weights
        for chunk in wrapped:
            buffers: Any = chunk.buffers  # megatron-core's, and not torch's method of that name
            for buffer in buffers:
                buffer.grad_data.untyped_storage().resize_(0)
    return Rank(options, context, model, wrapped, optimizer)


def timed(work: Callable[[], object]) -> float:
    """Seconds until all ranks have done it."""
    dist.barrier()
    start = time.perf_counter()
    work()
    dist.barrier()
    return time.perf_counter() - start


def saves(rank: Rank) -> dict[str, Any]:
    """Seconds of each save."""
    saver = rank.saver()
    return {"seconds": [timed(lambda step=step: saver.save(TrainState(step=step))) for step in _steps(rank)]}


def needs(rank: Rank) -> dict[str, Any]:
    """What goes between ranks during a save, and the memory that saves and a load take beyond a rank's share."""
    from megatron_redone.training.model_state import load_full
    from tests.helpers.peak_memory import peak_mb

    saver, beside = rank.saver(), rank.saver(async_save=True)
    dist.barrier()
    before = _loopback_bytes()
    saving = peak_mb(lambda: saver.save(TrainState(step=1)))
    dist.barrier()
    sent = _loopback_bytes() - before
    checkpoint = saver.folder.of_step(1)
    share = (checkpoint / f"__{dist.get_rank()}_0.distcp").stat().st_size / 2**20
    loading = peak_mb(lambda: load_full(rank.model.chunks, rank.optimizer, checkpoint))
    dist.barrier()

    def save_beside() -> None:
        beside.save(TrainState(step=2))
        beside.finish()

    both = peak_mb(save_beside)
    own = {"saving_mb": saving, "loading_mb": loading, "beside_mb": both, "share_mb": share}
    everyones: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyones, own)
    return {"bytes": sent, "ranks": everyones}


def _loopback_bytes() -> int:
    """What has gone over the loopback of this network namespace, headers included."""
    lines = Path("/proc/net/dev").read_text().splitlines()
    return int(next(line.split()[9] for line in lines if line.strip().startswith("lo:")))


def loads(rank: Rank) -> dict[str, Any]:
    """Seconds of loads with checks and without, in turn; from the disk and from the system's cache."""
    from megatron_redone.training.model_state import load_full

    checkpoint = CheckpointFolder(Path(rank.options.folder)).latest()
    assert checkpoint is not None
    found: dict[str, list[float]] = {}
    for number in range(rank.options.repeats):
        for place in ("disk", "cache"):
            for kind in ("checked", "plain") if number % 2 else ("plain", "checked"):
                if dist.get_rank() == 0:
                    _set_checked(checkpoint, kind == "checked")
                    if place == "disk":
                        _forget(checkpoint)
                seconds = timed(lambda: load_full(rank.model.chunks, rank.optimizer, checkpoint))
                found.setdefault(f"{place}_{kind}", []).append(seconds)
    if dist.get_rank() == 0:
        _set_checked(checkpoint, True)
    return found


def _set_checked(checkpoint: Path, is_checked: bool) -> None:
    """With its checksums, or as a checkpoint of before there were any."""
    record, checksums, aside = (checkpoint / "run" / name for name in ("state.json", "checksums.json", "aside"))
    if is_checked == checksums.exists():
        return
    content = json.loads(record.read_text())
    content["has_checksums"] = is_checked
    if is_checked:
        aside.rename(checksums)
    else:
        checksums.rename(aside)
    # Written as it was, so that its checksum is the same again.
    record.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _forget(checkpoint: Path) -> None:
    """Has the system forget the files with tensors, so that they are read from the disk."""
    import os

    for file in checkpoint.glob("*.distcp"):
        with open(file, "rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def steps(rank: Rank) -> dict[str, Any]:
    """Seconds, and seconds of the processor over all ranks, of rounds of 20 steps, with a save in them and without."""
    from megatron_redone.batches.micro_batch import MicroBatch
    from megatron_redone.objectives.language_modelling import LanguageModelling
    from megatron_redone.training.train_step import train_step

    generator = torch.Generator().manual_seed(dist.get_rank())
    text = torch.randint(0, SMALL["vocab_size"], (1, rank.options.tokens + 1), generator=generator)
    batch = MicroBatch(
        tokens=text[:, :-1].contiguous(),
        labels=text[:, 1:].contiguous(),
        loss_mask=torch.ones(1, rank.options.tokens),
        position_ids=torch.arange(rank.options.tokens)[None],
    )
    objective, saver = LanguageModelling(rank.model.row_placer), rank.saver(async_save=True)
    found: dict[str, list[float]] = {"saving": [], "plain": [], "saving_cpu": [], "plain_cpu": []}

    def round_of_steps(state: TrainState | None) -> None:
        for number in range(20):
            train_step(rank.wrapped, rank.optimizer, objective, [batch])
            if state is not None and number == 0:
                saver.save(state)
            elif state is not None:
                saver.after_step(SimpleNamespace(state=state, is_last=False))  # type: ignore[arg-type]
        saver.finish()

    round_of_steps(TrainState(step=1))  # to warm up
    for number in _steps(rank):
        for kind in ("saving", "plain") if number % 2 else ("plain", "saving"):
            begun = time.process_time()
            state = TrainState(step=number + 1) if kind == "saving" else None
            found[kind].append(timed(lambda state=state: round_of_steps(state)))
            spent = torch.tensor(time.process_time() - begun)
            dist.all_reduce(spent)
            found[f"{kind}_cpu"].append(float(spent))
    return found


def _steps(rank: Rank) -> range:
    return range(1, rank.options.repeats + 1)


JOBS = {"saves": saves, "needs": needs, "loads": loads, "steps": steps}

if __name__ == "__main__":
    main()
