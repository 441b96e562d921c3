"""This checkout against an earlier one: speed of the training steps, the same weights, and the size of the house.

    python tools/benchmarks/house.py --before CLONE --data DIR [--parts steps weights suite mutations size]

CLONE is a clone of this repository at the commit to compare with. Parts are recorded one by one and kept:

- steps: steps of pretraining, fine-tuning and preference optimisation of a model with SmolLM2-135M's shapes, by the
  code of both checkouts, in turns, each in a process of its own (DIR holds `sft/` and `dpo/`, as
  published);
- weights: the quickstart on its sample by both (`--work-before`, `--work-after`: work folders that are finished already
  are taken as they are), then SHA-256 of every export and of every tokenized or prepared dataset;
- suite: `tests/run.sh` and `tests/run.sh --quick`, in the environment that is there;
- mutations: `tools/mutations.py`, all of them;
- size: modules, those with a test of their name, and the words of the README.
"""

import os
import sys

# A script's folder comes first on the path, where tokenize.py would stand for Python's own `tokenize`.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import hashlib
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.unit import test_house
from tools import mutations
from tools.benchmarks import dpo_vs_trl, hh_rlhf, sft_vs_trl, smollm2_shapes
from tools.benchmarks.recording import RESULTS, record
from tools.benchmarks.side_by_side import Figures, Side, stop, take_turns

REPOSITORY = Path(__file__).parents[2]
PARTS = ("steps", "weights", "suite", "mutations", "size")
_DATASETS = ("*.bin", "*.idx")


def main() -> None:
    """Measures the parts that are asked for, and writes them over those of the result file."""
    options = parse_options()
    metrics: dict[str, float] = {}
    measures = {"steps": steps, "weights": weights, "suite": suite, "mutations": killed, "size": size}
    for part in options.parts:
        metrics.update(measures[part](options))
    kept = json.loads((RESULTS / "house.json").read_text())["metrics"] if (RESULTS / "house.json").is_file() else {}
    notes = (
        "*_vs_before: time of a step before over that of now, medians of the ratios of pairs of turns, greater than 1 "
        "where now is faster (least and greatest beside). weights_equal: 1 where every exported safetensors file and "
        "every .bin and .idx of the quickstart on its sample has the same SHA-256 in both checkouts. suite_s and "
        f"suite_quick_s: wall seconds of tests/run.sh, the environment being there. {options.notes}"
    )
    packages = ("megatron_redone", "megatron-core", "torch", "transformers", "trl")
    record("house", {**kept, **metrics}, packages, notes.strip())


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--before", type=resolved, help="a clone at the commit to compare with")
    parser.add_argument("--data", type=resolved, help="folder of public data sets that holds sft/ and dpo/")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--work-before", type=Path, help="the earlier checkout's quickstart, finished")
    parser.add_argument("--work-after", type=Path, help="this checkout's quickstart, finished")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--turns", type=int, default=9, help="timed turns of each side")
    parser.add_argument("--warmup", type=int, default=2, help="turns before them")
    parser.add_argument("--notes", default="", help="added to the result, for example that the machine was busy")
    return parser.parse_args()


def resolved(name: str) -> Path:
    """A path that stays valid in another folder."""
    return Path(name).resolve()


# Steps.


def steps(options: argparse.Namespace) -> dict[str, float]:
    """Ratios of the three kinds of training step."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        commands = {
            "train_step": ["tools/benchmarks/train_step_cpu.py", "--side", "ours", "--model", "135m"],
            "sft": fine_tuning(options, folder / "sft"),
            "dpo": preferences(options, folder / "dpo"),
        }
        metrics: dict[str, float] = {}
        for what, command in commands.items():
            metrics.update(compare(what, command, options, folder))
    return metrics


def fine_tuning(options: argparse.Namespace, folder: Path) -> list[str]:
    """The command of our side of `sft_vs_trl`, whose data the earlier checkout prepares."""
    folder.mkdir()
    sources = sft_vs_trl.read_sources(options.data)
    sft_vs_trl.write_sample(sources, folder / "conversations.jsonl")
    texts = (message["content"] for talks in sources.values() for talk in talks for message in talk)
    model = smollm2_shapes.write(folder / "model", texts)
    keys = [f"sources=[{{name: sample, input: [{folder}/conversations.jsonl]}}]", f"output_dir={folder}/prepared"]
    run_before(options, ["-m", "megatron_redone", "prepare-sft", *keys, f"tokenizer.path={model}"])
    script = ["tools/benchmarks/sft_vs_trl.py", "--side", "ours", "--folder", str(folder), "--model", str(model)]
    return [*script, "--data", str(options.data), "--seq-length", "1024"]


def preferences(options: argparse.Namespace, folder: Path) -> list[str]:
    """The command of our side of `dpo_vs_trl`, whose data the earlier checkout prepares."""
    folder.mkdir()
    pairs = list(hh_rlhf.read(options.data / "dpo" / "hh_rlhf_harmless_a.jsonl"))
    texts = (message["content"] for pair in pairs for side in pair.values() for message in side)
    model = dpo_vs_trl.without_padding_token(smollm2_shapes.write(folder / "whole", texts), folder / "model")
    count = 2 * (options.warmup + options.turns)
    hh_rlhf.write(pairs, dpo_vs_trl.SPEED_CHARACTERS, count, folder / "pairs.jsonl")
    template = folder / "template.jinja"
    template.write_text(smollm2_shapes.CHAT_TEMPLATE_WITHOUT_END)
    keys = [f"sources=[{{name: pairs, input: [{folder}/pairs.jsonl]}}]", f"output_dir={folder}/prepared"]
    keys += [f"tokenizer.path={model}", f"chat_template={template}"]
    run_before(options, ["-m", "megatron_redone", "prepare-preferences", *keys])
    script = ["tools/benchmarks/dpo_vs_trl.py", "--side", "ours", "--folder", str(folder), "--model", str(model)]
    return [*script, "--data", str(options.data), "--batch", "2"]


def run_before(options: argparse.Namespace, arguments: Sequence[str]) -> None:
    """Runs the earlier checkout's code."""
    environment = {**os.environ, "PYTHONPATH": str(options.before)}
    subprocess.run(
        [sys.executable, *arguments], check=True, cwd=options.before, env=environment, stdout=subprocess.DEVNULL
    )


def compare(what: str, command: Sequence[str], options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """One kind of step, by the code of both checkouts in turns."""
    roots = {"before": options.before, "after": REPOSITORY}
    sides = [begin(name, root, command, options.threads, folder / f"{what}_{name}.log") for name, root in roots.items()]
    answers = take_turns(sides, options.turns, options.warmup)
    for side in sides:
        stop(side)
    check_losses(what, sides, answers)
    ratios = {
        time_name: [b[time_name] / a[time_name] for b, a in zip(answers["before"], answers["after"], strict=True)]
        for time_name in ("seconds", "cpu_seconds")
    }
    return {
        f"{what}_vs_before": statistics.median(ratios["seconds"]),
        f"{what}_vs_before_least": min(ratios["seconds"]),
        f"{what}_vs_before_greatest": max(ratios["seconds"]),
        f"{what}_cpu_time_vs_before": statistics.median(ratios["cpu_seconds"]),
        f"{what}_losses_equal": 1.0,
    }


def begin(name: str, root: Path, command: Sequence[str], threads: int, log: Path) -> Side:
    """Starts the process of one checkout's side and waits for its first line, which not all scripts write as JSON.

    Raises:
        SystemExit: it ended, with the end of what it printed.
    """
    arguments = [sys.executable, "-W", "ignore", str(root / command[0]), *command[1:], "--threads", str(threads)]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": str(threads)}
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        arguments, stdin=pipe, stdout=pipe, stderr=log.open("w"), text=True, cwd=root, env=environment
    )
    assert process.stdout is not None
    if not process.stdout.readline():
        raise SystemExit(f"{name} ended with status {process.wait()}:\n{log.read_text()[-3000:]}")
    return Side(name, process, {}, log)


def check_losses(what: str, sides: Sequence[Side], answers: Mapping[str, Sequence[Figures]]) -> None:
    """Refuses to compare sides that do not compute the same, bit for bit.

    Raises:
        SystemExit: a loss differs.
    """
    losses = [[turn["loss"] for turn in answers[side.name]] for side in sides]
    if losses[0] != losses[1]:
        raise SystemExit(f"{what}: the losses differ: {losses[0]} before, {losses[1]} now")


# Weights.


def weights(options: argparse.Namespace) -> dict[str, float]:
    """Whether the quickstart ends in the same files."""
    before = checksums(finished_quickstart(options.before, options.work_before))
    after = checksums(finished_quickstart(REPOSITORY, options.work_after))
    different = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    for name in different:
        print(f"differs: {name}", file=sys.stderr)
    return {"weights_equal": float(not different), "files_compared": float(len(before))}


def finished_quickstart(repository: Path, work: Path | None) -> Path:
    """The work folder of the quickstart on its sample; runs it where none is given."""
    if work is None:
        work = Path(tempfile.mkdtemp(prefix="quickstart-"))
    command = ["bash", "examples/quickstart/run.sh", "--work", str(work)]
    environment = {**os.environ, "PYTHONPATH": str(repository), "REDONE_VENV": "none"}
    subprocess.run(command, check=True, cwd=repository, env=environment, stdout=sys.stderr)
    return work


def checksums(work: Path) -> dict[str, str]:
    """SHA-256 of exported weights and of datasets, by their path in the work folder."""
    files = [*work.glob("exports/*/*.safetensors")]
    for folder in ("tokens", "conversations", "preferences"):
        files += [path for pattern in _DATASETS for path in (work / folder).rglob(pattern)]
    return {str(path.relative_to(work)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


# The suite, the mutations, the size.


def suite(options: argparse.Namespace) -> dict[str, float]:
    """Wall seconds of the two forms of the tests."""
    del options
    return {"suite_quick_s": seconds_of("--quick"), "suite_s": seconds_of()}


def seconds_of(*arguments: str) -> float:
    """How long the tests take.

    Raises:
        CalledProcessError: they fail.
    """
    begin = time.monotonic()
    subprocess.run(["bash", "tests/run.sh", *arguments], check=True, cwd=REPOSITORY, stdout=sys.stderr)
    return time.monotonic() - begin


def killed(options: argparse.Namespace) -> dict[str, float]:
    """Mutations of core code, and how many of them a test notices."""
    del options
    listed = mutations.read_mutations()
    return {"mutations": float(len(listed)), "mutations_killed": float(len(mutations.killed(listed)))}


def size(options: argparse.Namespace) -> dict[str, float]:
    """Modules, those that have a test of their name, and the README's words."""
    del options
    modules = test_house.modules()
    return {
        "modules": float(len(modules)),
        "modules_mirrored": float(len(test_house.mirrored(modules))),
        "readme_words": float(len((REPOSITORY / "README.md").read_text(encoding="utf-8").split())),
    }


if __name__ == "__main__":
    main()
