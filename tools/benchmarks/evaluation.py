"""Benchmarks of a model: scores beside a second implementation, both of our models beside transformers, speed.

    python tools/benchmarks/evaluation.py --data DATA --model SMOLLM2 --part scores|likelihoods|speed|model

`scores` needs no model. `speed` runs the same tasks through lm-evaluation-harness's own class for transformers as it
comes, and through ours, in turn in one process. `model` runs `redone evaluate` on a part of every task.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parents[2])

import numpy as np
import torch

from megatron_redone.cli import main as redone
from megatron_redone.config.evaluate import BenchmarkSource, ComputeDtype, EvaluatedModel
from megatron_redone.config.parallel import Device
from megatron_redone.evaluation.benchmark_runs import BenchmarkTask, find_tasks, run_task
from megatron_redone.evaluation.benchmarks.worked_answers import bbh_answer, bbh_examples
from megatron_redone.evaluation.harness_model import Asking, HarnessModel
from megatron_redone.evaluation.sns_bench.corrected import CORRECTED
from megatron_redone.evaluation.sns_bench.official import OFFICIAL
from megatron_redone.evaluation.thinking import Thinking
from megatron_redone.generation.hf_model import LoadedModel, load_model
from megatron_redone.generation.log_probabilities import BatchLimits
from megatron_redone.generation.placement import choose_placement
from tests.helpers.sns_bench_predictions import SUBSETS, VARIANTS, gold, records
from tests.helpers.sns_bench_reference import reference_score
from tools.benchmarks.recording import record_part

PACKAGES = ("torch", "transformers", "lm_eval", "sacrebleu", "nltk", "rouge_score")
BBH_TASKS = ("boolean_expressions", "navigate", "object_counting", "sports_understanding", "web_of_lies")
# In IFEval's format, written for this: the benchmark itself is not among the data.
INSTRUCTIONS = (
    ("Describe the sea without using any commas.", "punctuation:no_comma", {}),
    ("Write about a cat in lower case letters only.", "change_case:english_lowercase", {}),
    ("Write about a dog in capital letters only.", "change_case:english_capital", {}),
    ("Tell of a journey in at least 20 words.", "length_constraints:number_words",
     {"relation": "at least", "num_words": 20}),
    ("Wrap your whole answer on tea in double quotation marks.", "startend:quotation", {}),
    ("Give me facts on snow as JSON.", "detectable_format:json_format", {}),
)  # fmt: skip


def scores(_: argparse.Namespace) -> tuple[dict[str, float], str]:
    """How far official scores are from the second implementation, and what gold answers get when corrected."""
    largest, least = 0.0, 100.0
    for subset in SUBSETS:
        found = records(subset)
        for variant in VARIANTS.values():
            chosen = found[:10] if subset == "MRC-simple" else found
            golds = [record["answer"] for record in chosen]
            texts = [text[:300] if subset == "QueryGen" else text for text in variant(chosen)]
            ours = 100 * OFFICIAL[subset].score([*map(OFFICIAL[subset].count, texts, golds)])
            largest = max(largest, abs(ours - reference_score(subset, texts, golds)))
        counts = [CORRECTED[subset].count(gold(record), record["answer"]) for record in found]
        least = min(least, 100 * CORRECTED[subset].score(counts))
    notes = f"12 subsets, {len(VARIANTS)} kinds of predictions each (MRC-simple: the first ten records)"
    return {"official_max_diff": largest, "corrected_gold_min": least}, notes


def likelihoods(options: argparse.Namespace) -> tuple[dict[str, float], str]:
    """Our model under megatron-core beside transformers on 200 requests of MMLU, no examples before them."""
    from megatron_redone.evaluation.checkpoint_model import load_checkpoint
    from megatron_redone.evaluation.model_loading import locate

    [task] = _tasks("mmlu_local", f"{options.data}/bench_dev/mmlu_dev", 50, num_fewshot=0)
    place = choose_placement(Device.cpu, ComputeDtype.fp32)
    with tempfile.TemporaryDirectory() as folder:
        assert redone(["import-hf", f"hf={options.model}", f"output={folder}/checkpoint", "dtype=fp32"]) == 0
        checkpoint = locate(EvaluatedModel(path=f"{folder}/checkpoint")).checkpoint
        assert checkpoint is not None
        found = [
            _loglikelihoods(task, model)
            for model in (load_model(options.model, place), load_checkpoint(checkpoint, place))
        ]
    largest = float(np.abs(found[0] - found[1]).max())
    same = float((found[0].reshape(-1, 4).argmax(1) == found[1].reshape(-1, 4).argmax(1)).mean())
    notes = f"{found[0].size} requests of MMLU's dev questions; answers the same: {100 * same:g} %"
    return {"lm_loglikelihood_max_diff": largest, "lm_same_answers": same}, notes


def _loglikelihoods(task: BenchmarkTask, model: LoadedModel) -> np.ndarray:
    asked = HarnessModel(model, _asking())
    task.task.build_all_requests(samples=task.chosen)
    return np.array([value for value, _ in asked.loglikelihood(task.task.instances)])


def speed(options: argparse.Namespace) -> tuple[dict[str, float], str]:
    """Items a minute of the harness as it comes and of ours, in turn, `--repeats` times.

    Of the processor's time, of which one thread takes as much as of the clock's where nothing else runs.
    """
    from lm_eval.models.huggingface import HFLM

    model = load_model(options.model, choose_placement(Device.cpu, ComputeDtype.fp32))
    theirs: Any = HFLM(**{"pretrained": options.model, "device": "cpu", "dtype": "float32"})
    ours = HarnessModel(model, _asking())
    with tempfile.TemporaryDirectory() as folder:
        tasks = [*_few_shot_tasks(options, Path(folder))]
    metrics: dict[str, float] = {}
    items, same = 0, 0
    ratios, totals = [], {"harness": [], "ours": []}
    for repeat in range(options.repeats):
        seconds = {"harness": 0.0, "ours": 0.0}
        for task in tasks:
            took, answers = {}, {}
            sides = [("harness", theirs), ("ours", ours)]
            for name, side in sides if repeat % 2 == 0 else sides[::-1]:
                begin = time.process_time()
                results = run_task(task, side, chat=False)
                took[name] = time.process_time() - begin
                seconds[name] += took[name]
                answers[name] = [result["answer"] for result in results]
            metrics[f"{task.source}_vs_harness"] = took["harness"] / took["ours"]
            if repeat == 0:
                items += len(answers["ours"])
                same += sum(map(_is_same, answers["ours"], answers["harness"]))
        ratios.append(seconds["harness"] / seconds["ours"])
        for name, value in seconds.items():
            totals[name].append(60 * items / value)
    metrics |= {
        "items_per_minute_vs_harness": float(np.median(ratios)),
        "items_per_minute_vs_harness_min": min(ratios),
        "items_per_minute": float(np.median(totals["ours"])),
        "items_per_minute_harness": float(np.median(totals["harness"])),
        "same_answers_as_harness": same / items,
    }
    counts = ", ".join(f"{len(task.chosen)} of {task.source}" for task in tasks)
    return (
        metrics,
        f"{counts}; {torch.get_num_threads()} thread, fp32, processor time, both in turn, {options.repeats} times",
    )


def _is_same(one: Any, other: Any) -> bool:
    return one == other


def _few_shot_tasks(options: argparse.Namespace, folder: Path) -> Iterator[BenchmarkTask]:
    """What has a head of worked examples: two questions of a subject before its other three, five of GSM8K before all.

    BBH's own examples, which are all that is here of it, have no head in common once each is left out of its own.
    """
    import csv

    for benchmark in ("mmlu", "cmmlu"):
        for split in ("dev", "test"):
            (folder / benchmark / split).mkdir(parents=True)
        files = sorted(Path(options.data, "bench_dev", f"{benchmark}_dev").glob("*.csv"))[: options.subjects]
        for file in files:
            with open(file, encoding="utf-8", newline="") as stream:
                head, *rows = csv.reader(stream)
            for split, part in (("dev", rows[:2]), ("test", rows[2:])):
                with open(folder / benchmark / split / file.name, "w", encoding="utf-8", newline="") as stream:
                    csv.writer(stream).writerows([head, *part])
        yield from _tasks(f"{benchmark}_local", str(folder / benchmark), 1 << 30)
    [gsm8k] = _tasks("gsm8k_local", f"{options.data}/sft/gsm8k_train.jsonl", options.worked)
    gsm8k.task.config.generation_kwargs["max_gen_toks"] = options.new_tokens
    yield gsm8k


def _bbh_folder(folder: Path) -> Path:
    """The worked examples that the benchmark itself gives, as items: an item is never among its own examples."""
    folder.mkdir(parents=True)
    for name in BBH_TASKS:
        _, examples = bbh_examples(name)
        items = [{"input": one["input"], "target": bbh_answer(one["target"])} for one in examples]
        (folder / f"{name}.json").write_text(json.dumps({"examples": items}), encoding="utf-8")
    return folder


def _tasks(name: str, data: str, limit: int, **more: Any) -> list[BenchmarkTask]:
    return find_tasks(BenchmarkSource(task=name, data=data, **more), limit, 0)


def _asking() -> Asking:
    return Asking(limits=BatchLimits(32, 4096), max_tokens=8192, thinking=Thinking())


def model(options: argparse.Namespace) -> tuple[dict[str, float], str]:
    """`redone evaluate` on a part of every task; the table goes to `--table`."""
    data = Path(options.data)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _bbh_folder(folder / "bbh")
        asked = [{"key": n, "prompt": text, "instruction_id_list": [kind], "kwargs": [how]}
                 for n, (text, kind, how) in enumerate(INSTRUCTIONS)]  # fmt: skip
        (folder / "input_data.jsonl").write_text("\n".join(map(json.dumps, asked)), encoding="utf-8")
        count = options.items
        tasks = [
            f"{{task: sns_bench, data: {data}/bench_dev/sns_bench_sample, max_records: {count}, max_new_tokens: 48}}",
            f"{{task: redtrans, data: {data}/bench_dev/redtrans_sample, max_records: {count}, max_new_tokens: 64}}",
            f"{{task: mmlu_local, data: {data}/bench_dev/mmlu_dev, max_records: {2 * count}}}",
            f"{{task: cmmlu_local, data: {data}/bench_dev/cmmlu_dev, max_records: {2 * count}}}",
            f"{{task: gsm8k_local, data: {data}/sft/gsm8k_train.jsonl, max_records: {count}, max_new_tokens: 128}}",
            f"{{task: bbh_local, data: {folder}/bbh, max_records: {count}, max_new_tokens: 128}}",
            f"{{task: ifeval_local, data: {folder}/input_data.jsonl, max_new_tokens: 128}}",
        ]
        texts = f"{{path: {data}/general/c4_demo.jsonl, group: general, max_records: {count}, max_characters: 1000}}"
        begin = time.perf_counter()
        keys = [f"output={folder}/out", f"models=[{{path: {options.model}, name: SmolLM2-135M-Instruct}}]",
                f"benchmarks=[{', '.join(tasks)}]", f"held_out=[{texts}]", "device=cpu", "dtype=fp32"]  # fmt: skip
        assert redone(["evaluate", *keys]) == 0
        minutes = (time.perf_counter() - begin) / 60
        content = json.loads((folder / "out" / "evaluation.json").read_text(encoding="utf-8"))
        if options.table:
            Path(options.table).write_text((folder / "out" / "evaluation.md").read_text(encoding="utf-8"))
    metrics: dict[str, float] = {"smollm2_minutes": minutes}
    for entry in content["metrics"]:
        if entry.get("mean_of"):
            continue
        where = f"{entry['path'] or entry['side']} {entry['metric']}" if "path" in entry else entry["metric"]
        place = where.replace("/", "_").replace(" ", "_").replace(",", "_").replace("-", "_")
        metrics[f"smollm2_{place}"] = entry["value"]
    found = {source["name"]: source for source in content["sources"]}
    notes = f"{count} items of each subset and of GSM8K, BBH and texts, {2 * count} of MMLU and CMMLU, 6 instructions"
    return metrics, f"{notes}; {sum(one['examples'] for one in found.values())} items"


def main() -> None:
    """Measures one part and records it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="the folder of real data")
    parser.add_argument("--model", help="SmolLM2-135M-Instruct as a Hugging Face directory")
    parser.add_argument("--part", required=True, choices=[*_PARTS])
    parser.add_argument("--items", type=int, default=10, help="of each subset, of part model")
    parser.add_argument("--subjects", type=int, default=20, help="of MMLU and CMMLU, of part speed")
    parser.add_argument("--worked", type=int, default=16, help="items of GSM8K, of part speed")
    parser.add_argument("--new-tokens", type=int, default=96, help="of a worked answer, of part speed")
    parser.add_argument("--repeats", type=int, default=3, help="of part speed")
    parser.add_argument("--table", help="where to leave the table of part model")
    parser.add_argument("--load", default="", help="what the machine was doing besides")
    options = parser.parse_args()
    torch.set_num_threads(1)
    metrics, notes = _PARTS[options.part](options)
    record_part("evaluation", options.part, metrics, PACKAGES, f"{notes}{'; ' if options.load else ''}{options.load}")


_PARTS = {"scores": scores, "likelihoods": likelihoods, "speed": speed, "model": model}

if __name__ == "__main__":
    main()
