"""MMLU and CMMLU: questions with four answers by subject, a few of the subject with their answers before each.

A folder has `test/` and `dev/` as the benchmarks come, or the CSV files alone: then the others of a subject are the
examples of each. The rows are question, four answers, and the right one as a letter or a number from 0. Prompts and
what is scored are those of the harness's own tasks of these names.
"""

from typing import Any

from megatron_redone.errors import UserError
from megatron_redone.evaluation.benchmarks.datasets import as_dataset
from megatron_redone.evaluation.benchmarks.local_files import find_folder, read_tables

LETTERS = "ABCD"
_FORMS = {
    "mmlu": (
        "The following are multiple choice questions (with answers) about {subject}.\n\n",
        "\nAnswer:",
        " ",
    ),
    "cmmlu": ("以下是关于{subject}的单项选择题，请直接给出正确答案的选项。\n\n", "\n答案：", ""),
}

Item = dict[str, Any]


def load(*, benchmark: str, data: str | None = None, num_fewshot: int | None = None, **_: Any) -> dict[str, Any]:
    """Items with their whole prompts.

    Args:
        benchmark: mmlu or cmmlu.
        data: The folder.
        num_fewshot: Examples before each question; 5 where None.

    Raises:
        UserError: no data, or a row that is not a question with four answers.
    """
    folder = find_folder(benchmark, data)
    split = (folder / "test").is_dir()
    tests = _read(benchmark, folder / "test" if split else folder)
    shots = _read(benchmark, folder / "dev") if split and (folder / "dev").is_dir() else tests
    count = 5 if num_fewshot is None else num_fewshot
    return as_dataset(
        [
            item | {"prompt": _prompt(benchmark, subject, item, shots.get(subject, []), count)}
            for subject, items in tests.items()
            for item in items
        ]
    )


def _read(benchmark: str, folder: Any) -> dict[str, list[Item]]:
    return {
        name: [_item(benchmark, name, number, row) for number, row in enumerate(rows, 1)]
        for name, rows in read_tables(benchmark, folder)
    }


def _item(benchmark: str, subject: str, number: int, row: list[str]) -> Item:
    if len(row) != 6:
        raise UserError(
            f"{benchmark}: row {number} of {subject} has {len(row)} columns, not 6: question, 4 answers, right one"
        )
    right = row[5].strip()
    answer = (
        LETTERS.find(right) if len(right) == 1 and right in LETTERS else int(right) if right in list("0123") else -1
    )
    if answer < 0:
        raise UserError(f"{benchmark}: row {number} of {subject} has the right answer {right!r}, not A to D or 0 to 3")
    return {"subject": subject, "question": row[0].strip(), "choices": row[1:5], "answer": answer}


def _prompt(benchmark: str, subject: str, item: Item, shots: list[Item], count: int) -> str:
    head, ask, delimiter = _FORMS[benchmark]
    examples = [shot for shot in shots if shot["question"] != item["question"]][:count]
    parts = [_question(shot) + ask + delimiter + LETTERS[shot["answer"]] + "\n\n" for shot in examples]
    return head.format(subject=subject.replace("_", " ")) + "".join(parts) + _question(item) + ask


def _question(item: Item) -> str:
    lines = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, item["choices"], strict=True)]
    return "\n".join([item["question"], *lines])
