"""What a CUDA device does with this project: parity, speed, switches, packed rows, a profile; under eight minutes.

    python tools/benchmarks/gpu.py --data DIR            on the device; writes benchmarks/results/gpu_<card>.json
    python tools/benchmarks/gpu.py --rehearse            every part with tiny shapes on a CPU; writes nothing

--parts parity,fp8,speed,switches,packed,profile and --shapes 1.5b,3b,0.5b,7b choose some. The measurements of a part
run one after the other in one process, as starting one takes longer than most of them; where one of them runs out of
memory or dies, that is noted, and another process goes on with the rest. Each part has a share of the time, and what no
longer fits in it is noted too. A result file that is there is added to, so that parts can be measured in several calls.
DIR holds real text and a `tokenizer` directory; without it the text is generated.
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

from tools.benchmarks.recording import RESULTS, record

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
# Seconds that a part may take; what it leaves goes to those after it.
SECONDS = {"parity": 50, "fp8": 75, "speed": 190, "switches": 75, "packed": 45, "profile": 30}
RECIPES = ("tensorwise", "delayed", "blockwise", "mxfp8")
ENGINE = {"backend": "transformer_engine", "precision": "bf16"}
# The most wanted first: time may run out.
SPEED_SIDES: dict[str, dict[str, Any]] = {
    "transformer_engine-bf16": ENGINE,
    "transformers-bf16": {"backend": "transformers", "precision": "bf16"},
    **{f"fp8-{recipe}": {**ENGINE, "precision": "fp8", "recipe": recipe} for recipe in RECIPES},
    "torch-bf16": {"backend": "torch", "precision": "bf16"},
}
OURS = ("transformer_engine-bf16", "torch-bf16")
# Shape, side and keys of ModelConfig, Fp8Config and OptimizerConfig: each against the same without them.
SWITCHES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "cross_entropy_native": ("1.5b", ENGINE, {"model": {"cross_entropy_fusion_impl": "native"}}),
    "cross_entropy_te": ("1.5b", ENGINE, {"model": {"cross_entropy_fusion_impl": "te"}}),
    "recompute_mlp": ("1.5b", ENGINE, {"model": {"recompute": "selective"}}),
    "recompute_full": ("1.5b", ENGINE, {"model": {"recompute": "full"}}),
    "fp8_param_gather": ("1.5b", SPEED_SIDES["fp8-tensorwise"], {"fp8": {"fp8_param_gather": True}}),
    "cpu_offload": ("1.5b", ENGINE, {"optimizer": {"optimizer_offload_fraction": 1.0}}),
    "cuda_graphs": ("0.5b", {**ENGINE, "rows": 1}, {"model": {"cuda_graph_impl": "local"}}),
}


def main() -> None:
    options = parse_options()
    if options.jobs is not None:
        for keys in json.loads(options.jobs):
            print(json.dumps(_here(keys)), flush=True)
        return
    bench = Bench(options)
    for part in options.parts.split(","):
        bench.run(part)
    bench.finish()


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with real text and a tokenizer")
    parser.add_argument("--parts", default=",".join(SECONDS), help="which parts, comma-separated")
    parser.add_argument("--shapes", default="1.5b,3b,0.5b,7b", help="which shapes, the first the most wanted")
    parser.add_argument("--rehearse", action="store_true", help="tiny shapes on a CPU, torch backend only")
    parser.add_argument("--notes", default="", help="added to the result")
    parser.add_argument("--jobs", help=argparse.SUPPRESS)
    return parser.parse_args()


class Bench:
    """The parts, their figures and what went wrong."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.begin = options, time.monotonic()
        self.end = self.begin
        self.metrics: dict[str, float] = {}
        self.problems: list[str] = []
        self.rehearse: bool = options.rehearse
        self.shapes = ["tiny"] if self.rehearse else options.shapes.split(",")
        self.length = 64 if self.rehearse else 4096
        self.kernels: list[dict[str, Any]] = []

    def run(self, part: str) -> None:
        """One part; nothing that fails in it ends the run."""
        self.end += SECONDS[part] * (10 if self.rehearse else 1)
        getattr(self, part)()

    def jobs(self, wanted: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """The figures of measurements by name; those that failed, or that no time was left for, are noted."""
        shared = {"device": "cpu" if self.rehearse else "cuda", "length": self.length}
        left = {name: {**shared, **keys} for name, keys in wanted.items()}
        found: dict[str, dict[str, Any]] = {}
        while left:
            seconds = self.end - time.monotonic()
            if seconds < 5:
                self.problems.append(f"{', '.join(left)}: left out, the time of the part was up")
                break
            lines, problem = self._process(list(left.values()), seconds)
            for name, line in zip(list(left), lines, strict=False):
                del left[name]
                if "problem" in line:
                    self.problems.append(f"{name}: {line['problem']}")
                else:
                    found[name] = line
                    print(f"{time.monotonic() - self.begin:5.0f} s  {name}: {str(line)[:300]}", file=sys.stderr)
            if left:
                # The first that has said nothing is the one that the process died of.
                name = next(iter(left))
                del left[name]
                self.problems.append(f"{name}: {problem}")
        return found

    def _process(self, jobs: list[dict[str, Any]], seconds: float) -> tuple[list[dict[str, Any]], str]:
        """Measurements in a process of their own: the figures of those that ended, and what it died of."""
        if self.rehearse and jobs[0]["kind"] != "profile":
            return [_here(keys) for keys in jobs], ""  # one is started all the same, for the profile
        command = [sys.executable, "-W", "ignore", __file__, "--jobs", json.dumps(jobs)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        try:
            output, errors = process.communicate(timeout=seconds)
            problem = _last_line(errors)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            problem = f"not done after the {seconds:.0f} s that its part had left"
        return [
            json.loads(line) for line in output.splitlines() if line.startswith("{") and line.endswith("}")
        ], problem

    def parity(self) -> None:
        """Losses of 20 steps on both backends, from the same weights and rows, in bf16."""
        keys = {**self._training_keys(steps=20), "precision": "bf16"}
        other = {"backend": "torch", "precision": "fp32"} if self.rehearse else ENGINE
        found = self.jobs(
            {"parity torch": {**keys, "backend": "torch"}, "parity transformer_engine": {**keys, **other}}
        )
        if len(found) == 2:
            ours, theirs = (side["losses"] for side in found.values())
            self.metrics["parity_rel_diff"] = max(abs(b / a - 1) for a, b in zip(ours, theirs, strict=True))

    def fp8(self) -> None:
        """Loss after 100 steps on text, each recipe against bf16."""
        keys = {**self._training_keys(steps=8 if self.rehearse else 100), "precision": "bf16"}
        keys["backend"] = "torch" if self.rehearse else "transformer_engine"
        precision = "fp8_emulated" if self.rehearse else "fp8"
        recipes = RECIPES[:3] if self.rehearse else RECIPES
        sides = {f"fp8 {recipe}": {**keys, "precision": precision, "recipe": recipe} for recipe in recipes}
        found = {name: sum(side["losses"][-10:]) / 10 for name, side in self.jobs({"fp8 bf16": keys, **sides}).items()}
        for recipe in recipes:
            if {"fp8 bf16", f"fp8 {recipe}"} <= set(found):
                self.metrics[f"fp8_loss_rel_diff_{recipe}"] = abs(found[f"fp8 {recipe}"] / found["fp8 bf16"] - 1)

    def _training_keys(self, steps: int) -> dict[str, Any]:
        data = str(self.options.data.resolve()) if self.options.data else None
        length = 64 if self.rehearse else 1024
        return {"kind": "train", "shape": "tiny" if self.rehearse else "0.5b", "steps": steps, "data": data,
                "length": length, "rows": 2 if self.rehearse else 8, "layers": 2 if self.rehearse else 8}  # fmt: skip

    def speed(self) -> None:
        """Tokens a second of every side at every shape."""
        sides = ("torch-bf16", "transformers-bf16") if self.rehearse else tuple(SPEED_SIDES)
        keys = {
            (shape, side): {**self._speed_keys(shape), **SPEED_SIDES[side]} for shape in self.shapes for side in sides
        }
        found = self.jobs({f"speed {shape} {side}": of for (shape, side), of in keys.items()})
        for shape in self.shapes:
            figures = {side: found[f"speed {shape} {side}"] for side in sides if f"speed {shape} {side}" in found}
            for side, of in figures.items():
                self._note(f"{side}_{shape}", of)
            self._ratios(shape, {side: of["tokens_per_second"] for side, of in figures.items()})
            best = max((of["mfu"] for side, of in figures.items() if side in OURS and "mfu" in of), default=None)
            if best is not None:
                self.metrics[f"mfu_bf16_{shape}"] = best

    def _speed_keys(self, shape: str, kind: str = "speed") -> dict[str, Any]:
        return {"kind": kind, "shape": shape, "rows": SIZES[shape][-1], "steps": 2 if self.rehearse else 6}

    def _ratios(self, shape: str, speed: dict[str, float]) -> None:
        best = max((speed[side] for side in OURS if side in speed), default=None)
        if best is None:
            return
        if "transformers-bf16" in speed:
            self.metrics[f"ratio_vs_transformers_{shape}"] = best / speed["transformers-bf16"]
        eight = [value for side, value in speed.items() if side.startswith("fp8-")]
        if eight:
            self.metrics[f"fp8_speedup_{shape}"] = max(eight) / best

    def switches(self) -> None:
        """What each option brings: its speed and its memory, over those of the same without it."""
        wanted: dict[str, dict[str, Any]] = {}
        switches = SWITCHES
        if self.rehearse:  # those that a CPU has
            side = {"backend": "torch", "precision": "bf16"}
            switches = {name: ("tiny", side, SWITCHES[name][2]) for name in ("recompute_mlp", "recompute_full")}
        for name, (shape, side, keys) in switches.items():
            base = {**self._speed_keys(shape), **side}
            wanted.setdefault(f"without {json.dumps(base)}", base)
            wanted[name] = {**base, **keys}
        found = self.jobs(wanted)
        for name, (shape, side, _) in switches.items():
            base = f"without {json.dumps({**self._speed_keys(shape), **side})}"
            if {name, base} <= set(found):
                for figure, key in (("speed", "tokens_per_second"), ("memory", "memory_gb")):
                    self.metrics[f"switch_{figure}_{name}"] = found[name][key] / found[base][key]

    def packed(self) -> None:
        """Speed on rows of many conversations, and of pairs of responses."""
        shape = "tiny" if self.rehearse else "1.5b"
        backends = ("torch",) if self.rehearse else ("transformer_engine", "torch")
        keys = {**self._speed_keys(shape), "rows": 1, "precision": "bf16"}
        wanted = {
            f"{task}_{backend}_{shape}": {**keys, "task": task, "backend": backend}
            for backend in backends
            for task in ("sft", "dpo")
        }
        for name, figures in self.jobs(wanted).items():
            self._note(name, figures)

    def profile(self) -> None:
        """The ten costliest kernels of a step, and the share of it in which the device did nothing."""
        shape = "tiny" if self.rehearse else "1.5b"
        backend = "torch" if self.rehearse else "transformer_engine"
        keys = {**self._speed_keys(shape, kind="profile"), "steps": 2, "backend": backend, "precision": "bf16"}
        for figures in self.jobs({"profile": keys}).values():
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
        earlier = RESULTS / f"gpu_{card}.json"
        kept = json.loads(earlier.read_text())["metrics"] if earlier.is_file() else {}
        packages = ["torch", "megatron-core", "transformer-engine", "transformers"]
        record(f"gpu_{card}", {**kept, **self.metrics}, packages, f"{name}. {notes}".strip())


def _here(keys: dict[str, Any]) -> dict[str, Any]:
    """A measurement in this process, or the reason why there is none."""
    from megatron_redone.distributed import destroy_context
    from megatron_redone.errors import UserError
    from tools.benchmarks.gpu_jobs import free_memory, run_job

    try:
        return run_job(json.loads(json.dumps(keys)))
    except UserError as error:  # such as a recipe that the card lacks: nothing is broken
        return {"problem": str(error)}
    finally:
        destroy_context()
        free_memory()


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it ended without a word"


if __name__ == "__main__":
    main()
