"""What a CUDA device does with this project: parity, speed, packed rows and a profile, in under eight minutes.

    python tools/benchmarks/gpu.py --data DIR            on the device; writes benchmarks/results/gpu_<card>.json
    python tools/benchmarks/gpu.py --rehearse            every part with tiny shapes on a CPU; writes nothing

--parts parity,fp8,speed,packed,profile and --shapes 0.5b,1.5b,3b,7b choose some. Every measurement has a process of
its own, so that what runs out of memory, or a recipe that the card lacks, is noted and the rest goes on; each part has
a share of the time, and what no longer fits in it is noted too. DIR holds real text and a `tokenizer` directory;
without it the text is generated.
"""

import os
import sys

# A script's folder comes first on the path, where tokenize.py would stand for Python's own `tokenize`.
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[0] = ROOT

import argparse
import json
import subprocess
import time
from pathlib import Path
from typing import Any

from tools.benchmarks.recording import record

QWEN = {"model_type": "qwen2", "rms_norm_eps": 1e-6, "rope_theta": 1e6, "max_position_embeddings": 32768,
        "hidden_act": "silu", "initializer_range": 0.02}  # fmt: skip
# Qwen/Qwen2.5-*: hidden, layers, heads, key/value heads, feed-forward, vocabulary, tied; and rows of a micro-batch.
SIZES = {
    "0.5b": (896, 24, 14, 2, 4864, 151936, True, 4),
    "1.5b": (1536, 28, 12, 2, 8960, 151936, True, 4),
    "3b": (2048, 36, 16, 2, 11008, 151936, True, 2),
    "7b": (3584, 28, 28, 4, 18944, 152064, False, 1),
    "tiny": (64, 2, 4, 2, 128, 512, True, 2),
}
# Seconds of the whole run that may have passed when a part ends.
ENDS = {"parity": 75, "fp8": 165, "speed": 370, "packed": 420, "profile": 460}
RECIPES = ("delayed", "tensorwise", "blockwise", "mxfp8")
SPEED_SIDES = ("transformer_engine-bf16", "torch-bf16", "transformers-bf16", *(f"fp8-{recipe}" for recipe in RECIPES))


def main() -> None:
    options = parse_options()
    if options.job is not None:
        from tools.benchmarks.gpu_jobs import run_job

        print(json.dumps(run_job(json.loads(options.job))), flush=True)
        return
    bench = Bench(options)
    for part in options.parts.split(","):
        bench.run(part)
    bench.finish()


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with real text and a tokenizer")
    parser.add_argument("--parts", default=",".join(ENDS), help="which parts, comma-separated")
    parser.add_argument("--shapes", default="1.5b,3b,0.5b,7b", help="which shapes, the first the most wanted")
    parser.add_argument("--rehearse", action="store_true", help="tiny shapes on a CPU, torch backend only")
    parser.add_argument("--notes", default="", help="added to the result")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    return parser.parse_args()


class Bench:
    """The parts, their figures and what went wrong."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.begin = options, time.monotonic()
        self.metrics: dict[str, float] = {}
        self.problems: list[str] = []
        self.rehearse: bool = options.rehearse
        self.shapes = ["tiny"] if self.rehearse else options.shapes.split(",")
        self.length = 64 if self.rehearse else 4096
        self.kernels: list[dict[str, Any]] = []

    def run(self, part: str) -> None:
        """One part; nothing that fails in it ends the run."""
        self.end = self.begin + ENDS[part] * (10 if self.rehearse else 1)
        {"parity": self.parity, "fp8": self.fp8, "speed": self.speed, "packed": self.packed, "profile": self.profile}[
            part
        ]()

    def job(self, name: str, **keys: Any) -> dict[str, Any] | None:
        """Runs a measurement in a process of its own; None where it failed, which is noted."""
        left = self.end - time.monotonic()
        if left < 5:
            self.problems.append(f"{name}: left out, the time of its part was up")
            return None
        keys |= {"device": "cpu" if self.rehearse else "cuda", "length": keys.get("length", self.length)}
        if self.rehearse and keys["kind"] != "profile":
            return _here(keys)  # starting processes is most of a rehearsal; one is started all the same
        command = [sys.executable, "-W", "ignore", __file__, "--job", json.dumps(keys)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=left, cwd=ROOT)
        except subprocess.TimeoutExpired:
            self.problems.append(f"{name}: took longer than the {left:.0f} s that its part had left")
            return None
        if done.returncode:
            self.problems.append(f"{name}: {_last_line(done.stderr)}")
            return None
        print(f"{time.monotonic() - self.begin:5.0f} s  {name}: {done.stdout.strip()[-300:]}", file=sys.stderr)
        return json.loads(done.stdout.strip().splitlines()[-1])

    def parity(self) -> None:
        """Losses of 20 steps on both backends, from the same weights and rows, in bf16."""
        keys = self._training_keys(steps=20)
        torch_side = self.job("parity torch", backend="torch", precision="bf16", **keys)
        other = {"backend": "torch", "precision": "fp32"} if self.rehearse else {"backend": "transformer_engine"}
        te_side = self.job("parity transformer_engine", **{"precision": "bf16", **other}, **keys)
        if torch_side and te_side:
            pairs = zip(torch_side["losses"], te_side["losses"], strict=True)
            self.metrics["parity_rel_diff"] = max(abs(theirs / ours - 1) for ours, theirs in pairs)

    def fp8(self) -> None:
        """Loss after 100 steps on text, each recipe against bf16."""
        keys = self._training_keys(steps=8 if self.rehearse else 100)
        backend = "torch" if self.rehearse else "transformer_engine"
        plain = self.job("fp8 bf16", backend=backend, precision="bf16", **keys)
        precision = "fp8_emulated" if self.rehearse else "fp8"
        for recipe in RECIPES[:3] if self.rehearse else RECIPES:
            side = self.job(f"fp8 {recipe}", backend=backend, precision=precision, recipe=recipe, **keys)
            if plain and side:
                means = [sum(s["losses"][-10:]) / 10 for s in (side, plain)]
                self.metrics[f"fp8_loss_rel_diff_{recipe}"] = abs(means[0] / means[1] - 1)

    def _training_keys(self, steps: int) -> dict[str, Any]:
        data = str(self.options.data.resolve()) if self.options.data else None
        length = 64 if self.rehearse else 1024
        return {"kind": "train", "shape": "tiny" if self.rehearse else "0.5b", "steps": steps, "data": data,
                "length": length, "rows": 2 if self.rehearse else 8, "layers": 2 if self.rehearse else 8}  # fmt: skip

    def speed(self) -> None:
        """Tokens a second of every side at every shape."""
        for shape in self.shapes:
            found: dict[str, dict[str, Any]] = {}
            for side in ("torch-bf16", "transformers-bf16") if self.rehearse else SPEED_SIDES:
                backend, _, precision = side.partition("-")
                keys = {"kind": "speed", "shape": shape, "rows": SIZES[shape][-1], "steps": 2 if self.rehearse else 6}
                if backend == "fp8":
                    keys |= {"backend": "transformer_engine", "precision": "fp8", "recipe": precision}
                else:
                    keys |= {"backend": backend, "precision": precision}
                figures = self.job(f"speed {shape} {side}", **keys)
                if figures:
                    found[side] = figures
                    self._note(f"{side}_{shape}", figures)
            self._ratios(shape, found)

    def _ratios(self, shape: str, found: dict[str, dict[str, Any]]) -> None:
        speed = {side: figures["tokens_per_second"] for side, figures in found.items()}
        ours = [s for s in ("transformer_engine-bf16", "torch-bf16") if s in found]
        if not ours:
            return
        best = max(ours, key=lambda side: speed[side])
        if "mfu" in found[best]:
            self.metrics[f"mfu_bf16_{shape}"] = found[best]["mfu"]
        if "transformers-bf16" in found:
            self.metrics[f"ratio_vs_transformers_{shape}"] = speed[best] / speed["transformers-bf16"]
        eight = [value for side, value in speed.items() if side.startswith("fp8-")]
        if eight:
            self.metrics[f"fp8_speedup_{shape}"] = max(eight) / speed[best]

    def packed(self) -> None:
        """Speed on rows of many conversations, and of pairs of responses."""
        shape = "tiny" if self.rehearse else "1.5b"
        for task in ("sft", "dpo"):
            for backend in ("torch",) if self.rehearse else ("transformer_engine", "torch"):
                keys = {"kind": "speed", "task": task, "shape": shape, "rows": 1, "steps": 2 if self.rehearse else 6}
                figures = self.job(f"packed {task} {backend}", backend=backend, precision="bf16", **keys)
                if figures:
                    self._note(f"{task}_{backend}_{shape}", figures)

    def profile(self) -> None:
        """The ten costliest kernels of a step, and the share of it in which the device did nothing."""
        shape = "tiny" if self.rehearse else "1.5b"
        backend = "torch" if self.rehearse else "transformer_engine"
        keys = {"kind": "profile", "shape": shape, "rows": SIZES[shape][-1], "steps": 2}
        figures = self.job("profile", backend=backend, precision="bf16", **keys)
        if figures:
            self.metrics[f"idle_share_{shape}"] = figures["idle_share"]
            self.kernels = figures["kernels"]

    def _note(self, name: str, figures: dict[str, Any]) -> None:
        for key in ("tokens_per_second", "tflops", "mfu", "memory_gb", "seconds_per_step", "spread"):
            if key in figures:
                self.metrics[f"{key}_{name}"] = figures[key]

    def finish(self) -> None:
        """Writes the result; a rehearsal prints it."""
        self.metrics["seconds"] = time.monotonic() - self.begin
        text = "; ".join(f"{kernel['name']} {kernel['share']:.1%}" for kernel in self.kernels)
        notes = (
            f"Sequence {self.length}; medians of steps after two that warm up; MFU against the data sheet's dense bf16 "
            "peak, of the faster backend; fp8_speedup: the fastest recipe against the faster bf16 backend. "
            f"Costliest kernels: {text or 'not measured'}. Problems: {'; '.join(self.problems) or 'none'}. "
            + self.options.notes
        )
        if self.rehearse:
            print(json.dumps({"metrics": self.metrics, "problems": self.problems, "kernels": self.kernels}))
            return
        import torch

        name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
        card = next((word.lower() for word in name.split() if any(c.isdigit() for c in word)), "none")
        if card == "none":
            raise SystemExit("no CUDA device here: nothing was measured; try --rehearse")
        packages = ["torch", "megatron-core", "transformer-engine", "transformers"]
        record(f"gpu_{card}", self.metrics, packages, f"{name}. {notes}".strip())


def _here(keys: dict[str, Any]) -> dict[str, Any]:
    """A measurement in this process."""
    from megatron_redone.distributed import destroy_context
    from tools.benchmarks.gpu_jobs import run_job

    figures = run_job(json.loads(json.dumps(keys)))
    destroy_context()
    return figures


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it ended without a word"


if __name__ == "__main__":
    main()
