"""GSM8K and BBH: answers that are reasoned out, with worked examples before each question."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from megatron_redone.errors import UserError
from megatron_redone.evaluation.benchmarks.datasets import as_dataset
from megatron_redone.evaluation.benchmarks.local_files import (
    check_records,
    find_file,
    find_folder,
    read_json_records,
)

_SHOTS = {"gsm8k": 5, "bbh": 3}


def load_gsm8k(*, data: str | None = None, num_fewshot: int | None = None, **_: Any) -> dict[str, Any]:
    """GSM8K (openai/grade-school-math): `test.jsonl` and `train.jsonl`, or one file whose first records are examples.

    Raises:
        UserError: no data, or a record without question and answer.
    """
    folder = find_folder("gsm8k", data)
    count = _SHOTS["gsm8k"] if num_fewshot is None else num_fewshot
    keys = ("question", "answer")
    items = read_json_records("gsm8k", find_file("gsm8k", folder, "test.jsonl"), keys)
    if folder.is_dir() and (folder / "train.jsonl").is_file():
        shots = read_json_records("gsm8k", folder / "train.jsonl", keys)[:count]
    else:
        shots, items = items[:count], items[count:]
    head = "".join(f"Question: {shot['question']}\nAnswer: {shot['answer']}\n\n" for shot in shots)
    return as_dataset(
        [{"prompt": f"{head}Question: {item['question']}\nAnswer:", "target": item["answer"]} for item in items]
    )


def load_bbh(*, data: str | None = None, num_fewshot: int | None = None, **_: Any) -> dict[str, Any]:
    """BIG-Bench Hard (suzgunm/BIG-Bench-Hard): a JSON file a task, in the folder or in `bbh/` of it.

    The worked examples are those of the benchmark, which the harness carries.

    Raises:
        UserError: no data, a file without examples, or a task that the harness has no worked examples of.
    """
    folder = find_folder("bbh", data)
    folder = folder / "bbh" if (folder / "bbh").is_dir() else folder
    files = sorted(folder.glob("*.json"))
    if not files:
        raise UserError(f"bbh: {folder} has no JSON files, one a task")
    count = _SHOTS["bbh"] if num_fewshot is None else num_fewshot
    return as_dataset([item for file in files for item in _bbh_items(file, count)])


def _bbh_items(file: Path, count: int) -> list[dict[str, str]]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"bbh: {file} cannot be read ({error})") from None
    records = content.get("examples") if isinstance(content, dict) else content
    description, shots = bbh_examples(file.stem)
    return [
        {
            "subject": file.stem,
            "prompt": description
            + "".join(
                _bbh_question(shot["input"]) + shot["target"] + "\n\n"
                for shot in [shot for shot in shots if shot["input"] != record["input"]][:count]
            )
            + _bbh_question(record["input"]),
            "target": record["target"],
            "answer_form": "So the answer is {}.",
        }
        for record in check_records("bbh", file, records, ("input", "target"))
    ]


def _bbh_question(text: str) -> str:
    return f"Q: {text}\nA: Let's think step by step.\n"


@cache
def bbh_examples(task: str) -> tuple[str, list[dict[str, str]]]:
    """A task's description and worked examples, as the harness carries them.

    Raises:
        UserError: it has none of this name.
    """
    import lm_eval
    import yaml

    file = Path(lm_eval.__file__).parent / "tasks" / "bbh" / "cot_fewshot" / f"{task}.yaml"
    if not file.is_file():
        raise UserError(
            f"bbh: there are no worked examples of {task}; its files bear the names of the benchmark's tasks"
        )
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    return content.get("description", ""), content["fewshot_config"]["samples"]


def bbh_answer(text: str) -> str:
    """What a worked answer says at its end."""
    found = re.findall(r"(?<=the answer is )(.*)(?=\.)", text)
    return found[0].strip() if found else ""


def score_bbh(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Exact match of what stands behind "the answer is", as the harness's task scores it."""
    return {"exact_match": float(bbh_answer(results[0]) == doc["target"].strip())}
