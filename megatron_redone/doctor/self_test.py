"""Trains a tiny model on one process and on two, through the pretrain stage itself, and compares the losses."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from megatron_redone.formats.indexed import IndexedDatasetWriter

_STEPS = 3
_ARCHITECTURE = {
    **{"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "hidden_size": 32, "num_hidden_layers": 2},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64, "vocab_size": 100},
    **{"max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": True},
    "hidden_act": "silu",
}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A small run: how many processes, and on what."""

    processes: int
    device: str

    @property
    def title(self) -> str:
        """For people."""
        how = "2 processes, tensor parallel" if self.processes == 2 else "1 process"
        return f"{how}, {'NCCL on CUDA' if self.device == 'cuda' else 'gloo on CPU'}"


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What a trial came to: the loss of each step, or why there is none."""

    trial: Trial
    losses: list[float]
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class SelfTest:
    """All trials.

    Attributes:
        results: In order.
        seconds: All together.
        difference: The largest relative difference of a loss from the first trial's; None where one failed.
        tolerance: What it may be.
    """

    results: list[TrialResult]
    seconds: float
    difference: float | None
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether every trial trained, and to the same losses."""
        return self.difference is not None and self.difference <= self.tolerance


def run_self_test(gpus: int, timeout: float) -> SelfTest:
    """Runs the trials at once, so that their start-up is waited for once.

    Args:
        gpus: CUDA devices; two of them are tested with NCCL, one alone beside two processes on the CPU.
        timeout: Seconds after which a trial is ended.
    """
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="redone-doctor-") as name:
        folder = Path(name)
        _write_inputs(folder)
        started = [_start(trial, folder / str(number)) for number, trial in enumerate(_trials(gpus))]
        try:
            results = [one.result(start + timeout) for one in started]
        finally:
            for one in started:
                one.kill()
    # In fp32 one order of additions differs from another by 1e-6; CUDA's kernels differ by more from the CPU's.
    tolerance = 1e-3 if gpus else 1e-5
    return SelfTest(
        results=results,
        seconds=round(time.monotonic() - start, 1),
        difference=_difference(results),
        tolerance=tolerance,
    )


def _trials(gpus: int) -> list[Trial]:
    if gpus >= 2:
        return [Trial(processes=1, device="cuda"), Trial(processes=2, device="cuda")]
    on_cpu = [Trial(processes=1, device="cpu"), Trial(processes=2, device="cpu")]
    return [*on_cpu, Trial(processes=1, device="cuda")] if gpus else on_cpu


def _write_inputs(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(_ARCHITECTURE))
    random = np.random.default_rng(0)
    with IndexedDatasetWriter(folder / "data", np.int32) as writer:
        writer.add(random.integers(0, _ARCHITECTURE["vocab_size"], 4096), np.array([4096]))
        writer.finish()


@dataclass(frozen=True)
class _Started:
    """The processes of a trial."""

    trial: Trial
    output: Path
    processes: list[subprocess.Popen[str]]

    def result(self, deadline: float) -> TrialResult:
        """Waits for all, or for the first that fails."""
        while any(process.poll() is None for process in self.processes):
            if any(process.poll() for process in self.processes):
                break
            if time.monotonic() > deadline:
                return TrialResult(
                    trial=self.trial, losses=[], error="no answer in time; do the processes see each other?"
                )
            time.sleep(0.05)
        failed = [number for number, process in enumerate(self.processes) if process.poll()]
        if failed:
            return TrialResult(trial=self.trial, losses=[], error=self._last_words(failed[0]))
        return TrialResult(trial=self.trial, losses=list(_losses(self.output / "metrics.jsonl")))

    def kill(self) -> None:
        """Ends what is left."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()

    def _last_words(self, number: int) -> str:
        lines = (self.output / f"{number}.log").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"process {number} ended with code {self.processes[number].returncode}"


def _start(trial: Trial, output: Path) -> _Started:
    output.mkdir()
    keys = [
        f"output_dir={output}",
        f"device={trial.device}",
        f"model.hf_config={output.parent}/config.json",
        "model.precision=fp32",
        f"parallel.tensor_model_parallel_size={trial.processes}",
        f"data.blend=[{{path: {output.parent}/data}}]",
        "data.seq_length=32",
        "training.global_batch_size=4",
        "training.micro_batch_size=2",
        f"training.train_steps={_STEPS}",
        "optimizer.lr=1e-2",  # so large that a wrong gradient shows in the next loss
        "optimizer.schedule=constant",
    ]
    command = [sys.executable, "-m", "megatron_redone", "pretrain", *keys]
    port = _free_port()
    processes = []
    for rank in range(trial.processes):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": trial.processes, "MASTER_PORT": port}
        environment = {
            **os.environ,
            **{name: str(value) for name, value in place.items()},
            **{"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1", "CUDA_DEVICE_MAX_CONNECTIONS": "1"},
        }
        log = open(output / f"{rank}.log", "w")
        processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, text=True))
        log.close()
    return _Started(trial, output, processes)


def _losses(metrics: Path) -> Iterator[float]:
    for line in metrics.read_text().splitlines():
        record = json.loads(line)
        if "loss" in record:
            yield record["loss"]


def _difference(results: Sequence[TrialResult]) -> float | None:
    expected = results[0].losses
    if any(len(result.losses) != _STEPS for result in results):
        return None
    return max(abs(a - b) / abs(a) for result in results for a, b in zip(expected, result.losses, strict=True))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
