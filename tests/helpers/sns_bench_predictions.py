"""Predictions for SNS-Bench of which each breaks another rule of reading: what a scorer is given in tests."""

import json
import random
from collections.abc import Callable
from typing import Any

from tests.helpers import shared_data

SUBSETS = (
    "Taxonomy-single", "Taxonomy-multiple", "Hashtag-single", "Hashtag-multiple", "QueryCorr-topic",
    "QueryCorr-explain", "MRC-simple", "MRC-complex", "NER", "Gender", "CHLW", "QueryGen",
)  # fmt: skip

Record = dict[str, Any]


def records(subset: str) -> list[Record]:
    """A tenth of the subset."""
    file = shared_data.FOLDER / "bench_dev" / "sns_bench_sample" / f"Note-{subset}.json"
    return json.loads(file.read_text())


def gold(record: Record) -> str:
    """The right answer as a model would write it."""
    return record["answer"] if isinstance(record["answer"], str) else str(record["answer"])


def shuffled(found: list[Record]) -> list[str]:
    """The right answers of other records."""
    answers = [gold(record) for record in found]
    random.Random(5).shuffle(answers)
    return answers


def _each(change: Callable[[str], str]) -> Callable[[list[Record]], list[str]]:
    return lambda found: [change(gold(record)) for record in found]


def _constant(text: str) -> Callable[[list[Record]], list[str]]:
    return lambda found: [text] * len(found)


def _some(found: list[Record]) -> list[str]:
    """Every noise in turn."""
    kinds = [kind for name, kind in VARIANTS.items() if name != "some"]
    return [kinds[number % len(kinds)]([record])[0] for number, record in enumerate(found)]


VARIANTS: dict[str, Callable[[list[Record]], list[str]]] = {
    "gold": _each(str),
    "empty": _constant(""),
    "empty list": _constant("[]"),
    "level -1": _constant("-1"),
    "Yes": _constant("Yes"),
    "No": _constant("No"),
    "all candidates": lambda found: [str(record.get("candidates", "")) for record in found],
    "first candidate": lambda found: [str(record.get("candidates", "")).split(",")[0] for record in found],
    "the note": lambda found: [str(record.get("content", record.get("sentence2"))) for record in found],
    "empty result": _constant("<Result>[]</Result>"),
    "bad result": _constant('<Result>[{"Reason": "x"}]</Result>'),
    "two results": _each(lambda text: f'<Result>[{{"Option": "x"}}]</Result> {text}'),
    "shuffled": shuffled,
    "lower case": _each(str.lower),
    "upper case": _each(str.upper),
    "before": _each(lambda text: f"Answer: {text}"),
    "sentence before": _each(lambda text: f"The answer is {text}"),
    "blank before": _each(lambda text: f"\n\n {text}"),
    "sentence behind": _each(lambda text: f"{text}. That is what the note says."),
    "line behind": _each(lambda text: f"{text}\nThat is what the note says, [1] in short"),
    "mark behind": _each(lambda text: f"{text}<|im_end|>\n"),
    "Markdown": _each(lambda text: f"**{text}**"),
    "code": _each(lambda text: f"```json\n{text}\n```"),
    "brackets": _each(lambda text: f"[{text}]"),
    "Chinese brackets": _each(lambda text: f"【{text}】"),
    "quotes": _each(lambda text: f'"{text}"'),
    "quoted list": _each(lambda text: f"['{text}']"),
    "Chinese punctuation": _each(lambda text: text.replace(",", "，").replace("|", "｜") + "。"),
    "doubled": _each(lambda text: f"{text}, {text}"),
    "half": _each(lambda text: text[: max(1, len(text) // 2)]),
    "numbers": _constant("[1, 2]"),
    "ten": _constant("10"),
    "spaces": _each(lambda text: "  ".join(text.split(" "))),
    "articles": _each(lambda text: f"the {text}"),
    "some": _some,
}
