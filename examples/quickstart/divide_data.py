"""Divides conversations and preference pairs into those to learn from and those to be examined on.

    python examples/quickstart/divide_data.py --data examples/quickstart/data --to work/divided

Writes train/ and held_out/, each with conversations/<name>.jsonl and preferences/pairs.jsonl as in the data folder,
and train/questions.jsonl: some of the conversations to learn from whose question has a closed set of answers, with
that set. (`redone curate` holds posts out itself.) Records with the same question stay on the same side; a hash of the
question decides which. Of many pairs or questions some are left out, long ones first, which is printed.
"""

import argparse
import hashlib
import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

Record = dict[str, Any]

SAMPLE = Path(__file__).parent / "data"
# What the quickstart's stages read.
FILES = sorted(str(path.relative_to(SAMPLE)) for path in SAMPLE.glob("*/*.jsonl"))
HELD_OUT_SHARE = 0.2
# A task whose questions all begin with the same line has a closed set of answers if it has few for many questions.
MOST_ANSWERS = 12
LEAST_QUESTIONS = 6
MOST_QUESTIONS = 24
# Every pair is read by the reference model, those held out by every model that is evaluated: half a second each.
MOST_PAIRS = {"train": 64, "held_out": 40}
LONG = 400  # bytes, of a pair or a question: a Chinese character is three, and about as many tokens


def main() -> None:
    """Reads the command line and writes every file; a file that would be the same is left as it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with conversations/ and preferences/")
    parser.add_argument("--to", type=Path, required=True, help="the folder to write")
    options = parser.parse_args()
    if missing := [name for name in FILES if not (options.data / name).is_file()]:
        sys.exit(f"divide_data.py: {options.data} lacks {', '.join(missing)}; it is to be laid out as {SAMPLE} is")
    files = sorted([*options.data.glob("conversations/*.jsonl"), *options.data.glob("preferences/*.jsonl")])
    questions: list[Record] = []
    for file in files:
        name = file.relative_to(options.data)
        records = read(file)
        train, held_out = divide(records)
        if name.parts[0] == "preferences":
            train, held_out = quick(train, MOST_PAIRS["train"]), quick(held_out, MOST_PAIRS["held_out"])
        write(options.to / "train" / name, train)
        write(options.to / "held_out" / name, held_out)
        questions += closed_questions(train)
        left_out = len(records) - len(train) - len(held_out)
        told = f", {left_out:,} left out: the quickstart is to be quick" if left_out else ""
        print(f"{name}: {len(train):,} to learn from, {len(held_out):,} held out{told}")
    if not questions:
        sys.exit(
            "divide_data.py: no task of conversations/ has a closed set of answers, of which wrong ones are taken: "
            f"{LEAST_QUESTIONS} or more questions with the same first line, and 2 to {MOST_ANSWERS} different answers"
        )
    chosen = quick(sorted(questions, key=digest), MOST_QUESTIONS)
    write(options.to / "train" / "questions.jsonl", chosen)
    print(f"questions.jsonl: {len(chosen):,} of {len(questions):,} to learn from with a closed set of answers")


def divide(records: Iterable[Record]) -> tuple[list[Record], list[Record]]:
    """Those to learn from, and those held out."""
    by_question: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_question[digest(question(record))].append(record)
    ordered = [by_question[key] for key in sorted(by_question)]
    border = round(HELD_OUT_SHARE * len(ordered))
    return list(chain.from_iterable(ordered[border:])), list(chain.from_iterable(ordered[:border]))


def quick(records: Iterable[Record], most: int) -> list[Record]:
    """The first of them, as many as `most`; long ones only where there are too few others."""

    def is_long(record: Record) -> bool:
        parts = [record[part] for part in ("prompt", "chosen", "rejected") if part in record]
        return sum(len(turn["content"].encode()) for turns in parts for turn in turns) > LONG

    return sorted(records, key=is_long)[:most]


def digest(content: Any) -> str:
    """A number, in hexadecimal digits, that is as good as drawn by chance."""
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()


def question(record: Record) -> Any:
    """What is said before the answer."""
    return record["prompt"] if "prompt" in record else record["messages"][:-1]


def closed_questions(conversations: Iterable[Record]) -> list[Record]:
    """`{"id", "prompt", "answer", "candidates"}` of the conversations whose task has few different answers."""
    tasks: dict[str, list[Record]] = defaultdict(list)
    for record in conversations:
        if "messages" in record and len(record["messages"]) == 2:
            tasks[record["messages"][0]["content"].split("\n")[0]].append(record)
    found: list[Record] = []
    for records in tasks.values():
        answers = sorted({record["messages"][-1]["content"] for record in records})
        if len(records) >= LEAST_QUESTIONS and 2 <= len(answers) <= min(MOST_ANSWERS, len(records) // 2):
            found += [
                {
                    "id": record["id"],
                    "prompt": record["messages"][:-1],
                    "answer": record["messages"][-1]["content"],
                    "candidates": answers,
                }
                for record in records
            ]
    return found


def read(file: Path) -> list[Record]:
    """The records of a file."""
    with open(file, encoding="utf-8") as stream:
        return [json.loads(line) for line in stream if line.strip()]


def write(file: Path, records: Iterable[Record]) -> None:
    """Writes a file, unless it would be the same: its time is what tells the pipeline that it has changed."""
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    if file.is_file() and file.read_text(encoding="utf-8") == text:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
