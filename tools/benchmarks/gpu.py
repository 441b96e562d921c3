"""What a CUDA device does with this project, the most wanted first; about nine minutes on one H100 or H200.

    python tools/benchmarks/gpu.py --data DIR            on the device; writes benchmarks/results/gpu_<card>.json
    python tools/benchmarks/gpu.py --rehearse            every part with tiny shapes on a CPU; writes nothing

--parts first_minutes,cut,speed,... and --shapes 1.5b,3b,0.5b choose some. The measurements of a part run one after the
other in one process, as starting one takes longer than most of them; where one of them runs out of memory or dies, that
is noted, and another process goes on with the rest. Each part has a share of the time (`SECONDS`, with what is expected
of it), and what no longer fits in it is noted too. Every figure is a line of its own, flushed, on the error stream and
in --lines FILE; the result file is written anew after each part, and one that is there is added to, so that parts can
be measured in several calls. DIR holds real text and a `tokenizer` directory; without it the text is generated.
"""

import os
import sys

# A script's folder comes first on the path, where tokenize.py would stand for Python's own `tokenize`.
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[0] = ROOT

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tools.benchmarks import gpu_first_minutes as first_minutes
from tools.benchmarks.recording import RESULTS, record

# torch's compiled kernels are kept between processes and calls: each of them would compile them again.
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", os.path.join(tempfile.gettempdir(), "redone_inductor"))

QWEN = {"model_type": "qwen2", "rms_norm_eps": 1e-6, "rope_theta": 1e6, "max_position_embeddings": 32768,
        "hidden_act": "silu", "initializer_range": 0.02}  # fmt: skip
# Qwen/Qwen2.5-*: hidden, layers, heads, key/value heads, feed-forward, vocabulary, tied; and rows of a micro-batch.
# `tp` is what one of so many tensor-parallel ranks holds: the products' shapes without the communication.
SIZES = {
    "0.5b": (896, 24, 14, 2, 4864, 151936, True, 4),
    "1.5b": (1536, 28, 12, 2, 8960, 151936, True, 4),
    "3b": (2048, 36, 16, 2, 11008, 151936, True, 2),
    "7b": (3584, 28, 28, 4, 18944, 152064, False, 1),
    "7b-tp2": (3584, 28, 14, 2, 9472, 76032, False, 1),
    "32b": (5120, 64, 40, 8, 27648, 152064, False, 1),
    "32b-tp4": (5120, 64, 10, 2, 6912, 38016, False, 1),
    "tiny": (64, 2, 4, 2, 128, 512, True, 2),
    "tiny-tp2": (64, 4, 2, 1, 64, 256, False, 2),
}
HEAD_DIM = {"7b-tp2": 128, "32b-tp4": 128, "tiny-tp2": 16}  # of the whole model; a shard's follows from nothing else
# The whole model does not fit one device: true widths at two depths, and a line through them.
CUT = {"7b": (4, 8), "7b-tp2": (4, 8), "32b-tp4": (4, 8), "32b": (2, 4), "tiny-tp2": (1, 2)}
MICRO_BATCHES = 4  # a step's; a real one has a hundred, of which the update is a small part
# Seconds that a part may take; what it leaves goes to those after it. Beside each what is expected of one H100,
# computed: a process takes 25 s to start and compile, a step of the cut 7 B some 2 s.
SECONDS = {
    "first_minutes": 240,  # 150 s: seven runs of the command line at 15 s, a compile, two layers
    "cut": 150,  # 90 s: sixteen measurements of four steps
    "parity": 50,  # 35 s: two sides of 20 steps at 8,192 tokens
    "fp8": 75,  # 60 s: a hundred steps of five sides
    "speed": 90,  # 60 s: three sides at two sizes
    "switches": 75,  # 60 s
    "packed": 45,  # 30 s
    "profile": 30,  # 25 s
}
RECIPES = ("tensorwise", "delayed", "blockwise", "mxfp8")
ENGINE = {"backend": "transformer_engine", "precision": "bf16"}
# The most wanted first: time may run out.
SPEED_SIDES: dict[str, dict[str, Any]] = {
    "transformer_engine-bf16": ENGINE,
    "fp8-tensorwise": {**ENGINE, "precision": "fp8", "recipe": "tensorwise"},
    "transformers-bf16": {"backend": "transformers", "precision": "bf16"},  # eager, sdpa; neither compiled nor Liger
}
# What is compared at the cut shapes; the last two are what the first is without.
CUT_SIDES: dict[str, dict[str, Any]] = {
    "bf16": ENGINE,
    "fp8": SPEED_SIDES["fp8-tensorwise"],
    "bf16-unfused_gradients": {**ENGINE, "unfused_gradients": True},
    "bf16-plain_loss": {**ENGINE, "model": {"cross_entropy_fusion_impl": "plain"}},
}
OURS = ("transformer_engine-bf16", "torch-bf16")
# Shape, side and keys of ModelConfig, Fp8Config and OptimizerConfig: each against the same without them.
SWITCHES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "cross_entropy_plain": ("1.5b", ENGINE, {"model": {"cross_entropy_fusion_impl": "plain"}}),
    "cross_entropy_te": ("1.5b", ENGINE, {"model": {"cross_entropy_fusion_impl": "te"}}),
    "recompute_mlp": ("1.5b", ENGINE, {"model": {"recompute": "selective"}}),
    "recompute_full": ("1.5b", ENGINE, {"model": {"recompute": "full"}}),
    "moments_bf16": ("1.5b", ENGINE, {"optimizer": {"moments_dtype": "bf16"}}),
    "fp8_param_gather": ("1.5b", SPEED_SIDES["fp8-tensorwise"], {"fp8": {"fp8_param_gather": True}}),
    "cpu_offload": ("1.5b", ENGINE, {"optimizer": {"optimizer_offload_fraction": 1.0}}),
    "cuda_graphs": ("0.5b", {**ENGINE, "rows": 1}, {"model": {"cuda_graph_impl": "local"}}),
}


def main() -> None:
    options = parse_options()
    if options.jobs is not None:
        jobs = json.loads(options.jobs)
        if all(keys.get("device") == "cpu" for keys in jobs):
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # an import must not start it
        for keys in jobs:
            print(json.dumps(_here(keys)), flush=True)
        return
    bench = Bench(options)
    for part in options.parts.split(","):
        bench.run(part)
        bench.write()
    bench.finish()


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with real text and a tokenizer")
    parser.add_argument("--parts", default=",".join(SECONDS), help="which parts, comma-separated")
    parser.add_argument("--shapes", default="1.5b,3b", help="which shapes, the first the most wanted")
    parser.add_argument("--lines", type=Path, help="every figure is appended to this file as soon as it is there")
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
                    self._tell(name, line)
            if left:
                # The first that has said nothing is the one that the process died of.
                name = next(iter(left))
                del left[name]
                self.problems.append(f"{name}: {problem}")
        return found

    def _tell(self, name: str, figures: dict[str, Any]) -> None:
        seconds = time.monotonic() - self.begin
        print(f"{seconds:5.0f} s  {name}: {str(figures)[:300]}", file=sys.stderr, flush=True)
        if self.options.lines is not None:
            with open(self.options.lines, "a", encoding="utf-8") as stream:
                stream.write(json.dumps({"seconds": round(seconds, 1), "name": name, **figures}) + "\n")

    def first_minutes(self) -> None:
        """The checklist of a new card: what is there, whether layers run, which attention, save and resume."""
        self.end += self._warm_up()
        device = "cpu" if self.rehearse else "cuda"
        for name, check in first_minutes.checks(device).items():
            begin = time.monotonic()
            try:
                figures = {"passed": 1.0, **check(max(self.end - begin, 30))}
            except first_minutes.CheckFailed as error:
                figures = {"passed": 0.0}
                self.problems.append(f"first_minutes {name}: {error}")
            self.metrics[f"first_minutes_{name}"] = figures["passed"]
            self._tell(f"first_minutes {name}", {**figures, "took": round(time.monotonic() - begin, 1)})

    def _warm_up(self) -> float:
        """Reads libraries from a cold disk and compiles, outside the clock; gives the seconds that it took."""
        if self.rehearse:
            return 0.0
        begin, self.end = time.monotonic(), self.end + 600
        keys = {**self._training_keys(steps=2), "shape": "tiny", "layers": 2, "rows": 1, "length": 128}
        self.jobs({"warm-up": {**keys, **ENGINE}, "warm-up fp8": {**keys, **SPEED_SIDES["fp8-tensorwise"]}})
        self.end -= 600
        return time.monotonic() - begin

    def cut(self) -> None:
        """The widths that the project is for, at two depths each, and the whole by the line through them."""
        shapes = ["tiny-tp2"] if self.rehearse else ["7b", "7b-tp2", "32b-tp4", "32b"]
        sides = {"bf16": {"backend": "torch", "precision": "bf16"}} if self.rehearse else CUT_SIDES
        wanted = {}
        for shape in shapes:
            for side, keys in sides.items():
                if side in ("bf16", "fp8") or shape == "7b":
                    for layers in CUT[shape]:
                        wanted[f"{shape} {side} {layers}"] = {**self._speed_keys(shape), **keys, "layers": layers}
        found = self.jobs(wanted)
        for shape in shapes:
            for side in sides:
                depths = {layers: found.get(f"{shape} {side} {layers}") for layers in CUT[shape]}
                if all(depths.values()):
                    self._extrapolate(shape, side, depths)
            speed = {side: self.metrics.get(f"whole_seconds_{side}_{shape}") for side in ("bf16", "fp8")}
            if speed["bf16"] and speed["fp8"]:
                self.metrics[f"fp8_speedup_{shape}"] = speed["bf16"] / speed["fp8"]
            if f"whole_mfu_bf16_{shape}" in self.metrics:
                self.metrics[f"mfu_bf16_{shape}"] = self.metrics[f"whole_mfu_bf16_{shape}"]

    def _extrapolate(self, shape: str, side: str, depths: dict[int, Any]) -> None:
        """Seconds of a micro-batch's passes over the whole model, and what they are of the card's peak."""
        from tools.benchmarks.gpu_jobs import whole_model

        seconds = {layers: figures["seconds_per_micro_batch"] for layers, figures in depths.items()}
        whole = whole_model({"shape": shape, "length": self.length, "rows": SIZES[shape][-1]}, seconds)
        for name, value in whole.items():
            self.metrics[f"{name}_{side}_{shape}"] = value

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
        torch_side = {"torch-bf16": {"backend": "torch", "precision": "bf16"}}
        known = {**torch_side, "transformers-bf16": SPEED_SIDES["transformers-bf16"]} if self.rehearse else SPEED_SIDES
        sides = tuple(known)
        keys = {(shape, side): {**self._speed_keys(shape), **known[side]} for shape in self.shapes for side in sides}
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
        return {"kind": kind, "shape": shape, "rows": SIZES[shape][-1], "steps": 2 if self.rehearse else 4,
                "micro_batches": MICRO_BATCHES if kind == "speed" else 1}  # fmt: skip

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
        keys = {**self._speed_keys(shape), "rows": 1, "precision": "bf16", "micro_batches": 1}
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
        for key in (
            "tokens_per_second",
            "tflops",
            "mfu",
            "memory_gb",
            "seconds_per_micro_batch",
            "seconds_of_update",
            "spread",
        ):
            if key in figures:
                self.metrics[f"{key}_{name}"] = figures[key]

    def finish(self) -> None:
        """Prints what a rehearsal came to."""
        if self.rehearse:
            print(json.dumps({"metrics": self.metrics, "problems": self.problems, "kernels": self.kernels}))

    def write(self) -> None:
        """Writes the result as far as it is there; a rehearsal writes nothing."""
        if self.rehearse:
            return
        import torch

        name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
        card = next((word.lower() for word in name.split() if any(c.isdigit() for c in word)), "none")
        if card == "none":
            raise SystemExit("no CUDA device here: nothing was measured; try --rehearse")
        earlier = RESULTS / f"gpu_{card}.json"
        kept = json.loads(earlier.read_text())["metrics"] if earlier.is_file() else {}
        packages = ["torch", "megatron-core", "transformer-engine", "transformers"]
        self.metrics["seconds"] = time.monotonic() - self.begin
        record(f"gpu_{card}", {**kept, **self.metrics}, packages, f"{name}. {self._notes()}".strip())

    def _notes(self) -> str:
        text = "; ".join(f"{kernel['name']} {kernel['share']:.1%}" for kernel in self.kernels)
        return (
            f"Sequence {self.length}; steps of {MICRO_BATCHES} micro-batches, medians after two that warm up; "
            "seconds_per_micro_batch: passes alone, from steps of one and of all; whole_: a line through two depths at "
            "true widths; MFU against the data sheet's dense bf16 peak; transformers: eager, sdpa, fused "
            f"AdamW, neither compiled nor Liger. Costliest kernels: {text or 'not measured'}. Problems: "
            f"{'; '.join(self.problems) or 'none'}. " + self.options.notes
        )


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
