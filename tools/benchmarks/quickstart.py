"""The quickstart from a clean clone to its report: how long it takes, how much memory, what comes out of it.

    python tools/benchmarks/quickstart.py [--data LAID_OUT] [--parts sample data kill] [--clone CLONE]

Clones the last commit, and runs examples/quickstart/run.sh in it as a newcomer would:

- sample: the environment is made, the model downloaded, the sample data taken; then the same command once more, which
  has nothing to do;
- data: on the folder of --data (tools/lay_out_shared_data.py makes one of public data sets);
- kill: on the sample data in a new folder, killed in each stage in turn; it must end with the same weights.

Each part is recorded as soon as it is done; figures of parts that are left out stay as they were. `data` and `kill`
make the environment first, and `kill` the unbroken run, but in a --clone where `sample` was run before.
"""

import os
import sys

# A script's folder comes first on the path, where tokenize.py would stand for Python's own `tokenize`.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import hashlib
import json
import re
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil
import yaml

from tools.benchmarks.real_run import validation
from tools.benchmarks.recording import RESULTS, record

REPOSITORY = Path(__file__).parents[2]
QUICKSTART = Path("examples", "quickstart")
TRAINING = {"pretrain", "sft", "dpo"}
SAMPLING_S = 0.25
PACKAGES = ("megatron_redone", "megatron-core", "torch", "transformers", "datatrove")
NOTES = (
    "seconds: from a clean clone to the report on the sample data, environment and downloads included; peak_rss_mb: "
    "resident memory of all its processes together, pages that they share counted for each; second_call_seconds: of a "
    "call that finds nothing to do. On --data: social_bpb, bits per byte of held-out posts; val_loss, of held-out "
    "social conversations, per learned token; preference_accuracy, share of held-out pairs whose chosen response is "
    "the likelier one; dpo_accuracy, share of those with the greater reward; and what begins with shared_data."
)


def main() -> None:
    """Runs the parts and writes the result file after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="another corpus, laid out as examples/quickstart/data is")
    parser.add_argument("--clone", type=Path, help="where to run; by default a new clone, deleted in the end")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=["sample"], help="what to run, in this order")
    parser.add_argument("--notes", default="", help="added to the result, for example that the machine was busy")
    options = parser.parse_args()
    if "data" in options.parts and options.data is None:
        parser.error("--parts data needs --data")
    data: Path | None = options.data.resolve() if options.data is not None else None
    metrics = kept()
    with tempfile.TemporaryDirectory() as folder:
        clone: Path = options.clone.resolve() if options.clone is not None else Path(folder, "clone")
        if not clone.exists():
            subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(clone)], check=True)
        for part in options.parts:
            metrics.update(PARTS[part](clone, data))
            record("quickstart", metrics, PACKAGES, f"{NOTES} {options.notes}".strip())


def kept() -> dict[str, float]:
    """Figures of an earlier call."""
    file = RESULTS / "quickstart.json"
    return json.loads(file.read_text())["metrics"] if file.is_file() else {}


# The three runs.


def from_clean_clone(clone: Path, _: Path | None) -> dict[str, float]:
    """The sample data, twice."""
    seconds, peak, _first = watch(start(clone))
    again, _peak, output = watch(start(clone))
    if "nothing to do" not in output:
        raise SystemExit(f"the second call did something:\n{output}")
    return {"seconds": seconds, "peak_rss_mb": peak, "second_call_seconds": again}


def on_other_data(clone: Path, data: Path | None) -> dict[str, float]:
    """What the stages bring on a larger corpus."""
    assert data is not None
    work = clone.parent / "other_data"
    seconds, peak, _ = watch(start(clone, "--data", str(data), "--work", str(work)))
    return {
        "shared_data_seconds": seconds,
        "shared_data_peak_rss_mb": peak,
        **evaluated(json.loads((work / "evaluation" / "evaluation.json").read_text())["metrics"]),
        **validated(work / "runs"),
    }


def evaluated(values: list[dict[str, Any]]) -> dict[str, float]:
    """Bits per byte before and after continued pretraining, and preferences before and after their optimisation."""
    value = {(f["metric"], f["side"], f["model"]): f["value"] for f in values if f["source"] is not None}
    metrics = {f"{side}_bpb_{model}": value["bits_per_byte", side, model]
               for side in ("social", "general") for model in ("base", "cpt", "dpo")}  # fmt: skip
    for metric in ("preference_accuracy", "preference_accuracy_per_token"):
        metrics.update({f"{metric}_{model}": of for (name, _, model), of in value.items()
                        if name == metric and model in ("sft2", "dpo")})  # fmt: skip
    return {name.replace("_sft2", "_sft"): of for name, of in metrics.items()}


def validated(runs: Path) -> dict[str, float]:
    """Losses of held-out conversations before, between and after the two steps of fine-tuning, and pairs around DPO."""
    metrics: dict[str, float] = {}
    for side in ("social", "general"):
        first, second = (validation(runs / step, f"{side}/loss") for step in ("sft1", "sft2"))
        metrics[f"{side}_val_loss_start"], metrics[f"{side}_val_loss_sft1"] = first[0], first[-1]
        metrics[f"{side}_val_loss_sft2"] = second[-1]
    for figure in ("accuracy", "margin"):
        values = validation(runs / "dpo", f"held_out/{figure}")
        metrics[f"dpo_{figure}_start"], metrics[f"dpo_{figure}_end"] = values[0], values[-1]
    return metrics


def killed_in_each_stage(clone: Path, _: Path | None) -> dict[str, float]:
    """Kills everything in the middle of each stage; what comes out must be what an unbroken run makes."""
    unbroken, work = clone / QUICKSTART / "work", clone.parent / "killed"
    watch(start(clone))  # nothing to do after the part `sample`
    stages = yaml.safe_load((clone / QUICKSTART / "pipeline.yaml").read_text())["stages"]
    for stage in stages:
        kill_in(stage, start(clone, "--work", str(work)), work)
    watch(start(clone, "--work", str(work)))
    return {
        "killed_stages": float(len(stages)),
        "killed_ends_with_same_weights": float(digest(work) == digest(unbroken)),
    }


PARTS = {"sample": from_clean_clone, "data": on_other_data, "kill": killed_in_each_stage}


def digest(work: Path) -> str:
    """Of the weights that came out."""
    return hashlib.sha256((work / "exports" / "dpo" / "model.safetensors").read_bytes()).hexdigest()


# Processes.


@dataclass(frozen=True)
class Running:
    """A call of run.sh, in a session of its own, and what it prints."""

    process: psutil.Popen
    output: IO[str]


def start(clone: Path, *arguments: str) -> Running:
    """The quickstart, with an environment of the clone's."""
    environment = {name: value for name, value in os.environ.items() if name not in ("REDONE_VENV", "VIRTUAL_ENV")}
    command = ["bash", str(QUICKSTART / "run.sh"), *arguments]
    output = tempfile.TemporaryFile("w+")
    process = psutil.Popen(
        command, cwd=clone, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
    )
    return Running(process, output)


def watch(running: Running) -> tuple[float, float, str]:
    """Waits for the end: seconds, peak of the resident memory of the whole family in MB, and what was printed."""
    begin, peak = time.perf_counter(), 0
    while running.process.poll() is None:
        peak = max(peak, sum(resident(member) for member in family(running.process)))
        time.sleep(SAMPLING_S)
    seconds = time.perf_counter() - begin
    running.output.seek(0)
    output = running.output.read()
    print(output, file=sys.stderr)
    if running.process.returncode:
        raise SystemExit(f"run.sh ended with status {running.process.returncode}")
    return seconds, peak / 2**20, output


def family(process: psutil.Popen) -> list[psutil.Process]:
    """A process and its descendants; none where it has ended."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def resident(process: psutil.Process) -> int:
    """Bytes; 0 of a process that has ended."""
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0


def kill_in(stage: dict[str, Any], running: Running, work: Path) -> None:
    """Waits until a stage is in the middle of its work, as far as its log tells, and kills all there is."""
    sign = re.compile(r"^step +3/" if stage["stage"] in TRAINING else r"^== ", re.MULTILINE)
    log = work / "logs" / f"{stage['name']}.log"
    while not (log.exists() and sign.search(log.read_text())):
        if running.process.poll() is not None:
            raise SystemExit(f"run.sh ended before it could be killed in {stage['name']}")
        time.sleep(0.05)
    if stage["stage"] not in TRAINING:
        time.sleep(1.0)  # there are no steps to see
    for member in family(running.process):
        with suppress(psutil.NoSuchProcess):
            member.send_signal(signal.SIGKILL)
    running.process.wait()
    print(f"killed in {stage['name']}", file=sys.stderr)


if __name__ == "__main__":
    main()
