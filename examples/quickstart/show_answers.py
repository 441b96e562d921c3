"""Shows held-out questions with what the base model and the final one answered, and what was expected.

    python examples/quickstart/show_answers.py --work work [--first base] [--last dpo] [--each 2]

Of every file of conversations that `redone evaluate` asked both models, the first questions: they are not chosen.
"""

import argparse
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WIDTH = 110


def main() -> None:
    """Reads the command line and prints one question after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="the quickstart's folder")
    parser.add_argument("--first", default="base", help="the model before")
    parser.add_argument("--last", default="dpo", help="the model after")
    parser.add_argument("--each", type=int, default=2, help="questions of each file")
    options = parser.parse_args()
    evaluation = json.loads((options.work / "evaluation" / "evaluation.json").read_text(encoding="utf-8"))
    sources = [source["name"] for source in evaluation["sources"] if source["kind"] == "conversations"]
    for name, entry in zip(sources, evaluation["config"]["conversations"], strict=True):
        print(f"  {name}, {options.each} of the questions that no stage has seen:\n")
        answers = [_answers(options.work, model, name) for model in (options.first, options.last)]
        for before, after in list(zip(*answers, strict=True))[: options.each]:
            print(_shown("question", _question(options.work / entry["path"], before["record"])))
            print(_shown(options.first, before["answer"], before["exact"]))
            print(_shown(options.last, after["answer"], after["exact"]))
            print(_shown("expected", before["expected"]), end="\n\n")


def _answers(work: Path, model: str, source: str) -> list[dict[str, Any]]:
    """A model's results on a source, in the order of its file."""
    file = work / "evaluation" / "examples" / model / f"conversations.{source}.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def _question(file: Path, record: int) -> str:
    """What is asked in a record, which is counted from 1."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return json.loads(lines[record - 1])["messages"][-2]["content"]


def _shown(label: str, text: str, exact: float | None = None) -> str:
    """A text under a label on the left, with a mark where it was counted as right or wrong."""
    mark = "" if exact is None else "[right] " if exact else "[wrong] "
    return "\n".join(_lines(f"    {label:>10}  ", mark + text.strip()))


def _lines(label: str, text: str) -> Iterator[str]:
    for line in text.splitlines() or [""]:
        for part in textwrap.wrap(line, WIDTH - len(label)) or [""]:
            yield (label + part).rstrip()
            label = " " * len(label)


if __name__ == "__main__":
    main()
