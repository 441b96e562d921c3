"""Answers to tasks with a right answer: how they are read out of a model's words, and scored against the gold.

The tasks are those of SNS-Bench (HC-Guo/SNS-Bench) and arithmetic. Reading follows the benchmark's code, but
for two defects: its pattern for the end of an answer leaves the bars of `<|end|>` unescaped, so that the letters
"end" cut "Trends"; and it runs `eval` on what a model wrote. A score is of one record; what the benchmark takes
over all records (micro-F1, F1 of each level) is made from the same parts.
"""

import ast
import difflib
import json
import re
from collections.abc import Callable

from megatron_redone.config.build_preferences import Scorer

# The end of a label in the benchmark's code, character for character, and what it was meant to be.
PUBLISHED_CUT = re.compile(r"[\n.,]|<|endofresponse|>|<|end|>|<|im_end|>")
_CUT = re.compile(r"[\n.,]|<\|endofresponse\|>|<\|end\|>|<\|im_end\|>")
_LEVEL = re.compile(r"-1|0|1|2|3")
_LIST = re.compile(r"\[[^\[\]]*\]")
_RESULT = re.compile(r"<Result>(.*?)</Result>", re.DOTALL)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_PUNCTUATION = re.compile(r"[^\w\s]")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def cut_label(text: str, cut: re.Pattern[str] = _CUT) -> str:
    """A short answer without what a model says before and after it."""
    return cut.split(text.strip().removeprefix("Answer:").strip(), maxsplit=1)[0].strip()


def normalise_label(text: str) -> str:
    """A label without punctuation (the bars of a path included) and English articles, its spaces single."""
    return " ".join(_ARTICLES.sub(" ", _PUNCTUATION.sub(" ", text)).split())


def read_label_set(text: str) -> set[str]:
    """The labels of the first line, separated by commas."""
    first = text.strip().split("\n", maxsplit=1)[0].removeprefix("Answer:")
    return {label.strip() for label in first.split(",")} - {""}


def read_level(text: str) -> str | None:
    """The first of -1, 0, 1, 2 and 3 that is written."""
    found = _LEVEL.search(text)
    return found.group() if found else None


def read_word_list(text: str) -> set[str] | None:
    """The first list in square brackets; None where there is none that can be read."""
    found = _LIST.search(text)
    try:
        words = ast.literal_eval(found.group()) if found else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return {str(word) for word in words} if words is not None else None


def read_options(text: str) -> list[str] | None:
    """The `Option`s of the last `<Result>[{"Option": ...}, ...]</Result>`; None where it cannot be read."""
    found = _RESULT.findall(text)
    try:
        entries = json.loads(found[-1]) if found else None
        return [str(entry["Option"]) for entry in entries] if entries is not None else None
    except (ValueError, KeyError, TypeError):
        return None


def score_answer(scorer: Scorer, answer: str, gold: str) -> float:
    """How good an answer is, from 0 to 1.

    Args:
        scorer: `exact`: the same but for white space around it. `label`: the same up to a full stop, comma or line
            end (Taxonomy, Hashtag, Gender, QueryCorr-explain). `label_path`: the same but for punctuation and
            articles (Taxonomy-multiple). `label_set`: F1 of labels between commas (Hashtag-multiple, NER).
            `level`: the first of -1 to 3 (QueryCorr-topic). `word_list`: F1 of the first bracketed list (CHLW).
            `options`: likeness of the options in `<Result>` (MRC-complex). `number`: the last number (GSM8K).
        answer: What a model wrote.
        gold: The right answer, in the same form.
    """
    return _SCORERS[scorer](answer, gold)


def _exact(answer: str, gold: str) -> float:
    return float(answer.strip() == gold.strip())


def _label(answer: str, gold: str) -> float:
    return float(cut_label(answer) in (gold.strip(), cut_label(gold)))


def _label_path(answer: str, gold: str) -> float:
    return float(normalise_label(cut_label(answer)) == normalise_label(cut_label(gold)))


def _label_set(answer: str, gold: str) -> float:
    return _set_f1(read_label_set(answer), read_label_set(gold))


def _level(answer: str, gold: str) -> float:
    return float(read_level(answer) == gold.strip())


def _word_list(answer: str, gold: str) -> float:
    words, right = read_word_list(answer), read_word_list(gold)
    if words is None or right is None:
        return 0.0
    # As in the benchmark, an empty list is a list of one empty word: nothing and nothing agree.
    return _set_f1(words or {""}, right or {""})


def _options(answer: str, gold: str) -> float:
    options, right = read_options(answer), read_options(gold)
    if options is None or right is None:
        return 0.0
    if not options or not right:
        return float(options == right)
    return sum(max(_substring_f1(option, other) for other in right) for option in options) / len(options)


def _number(answer: str, gold: str) -> float:
    numbers, right = _NUMBER.findall(answer), _NUMBER.findall(gold)
    if not numbers or not right:
        return 0.0
    return float(float(numbers[-1].replace(",", "")) == float(right[-1].replace(",", "")))


_SCORERS: dict[Scorer, Callable[[str, str], float]] = {
    Scorer.exact: _exact,
    Scorer.label: _label,
    Scorer.label_path: _label_path,
    Scorer.label_set: _label_set,
    Scorer.level: _level,
    Scorer.word_list: _word_list,
    Scorer.options: _options,
    Scorer.number: _number,
}


def _set_f1(answers: set[str], gold: set[str]) -> float:
    return 2 * len(answers & gold) / (len(answers) + len(gold)) if answers or gold else 1.0


def _substring_f1(answer: str, gold: str) -> float:
    """F1 of the longest common substring's share of both."""
    length = difflib.SequenceMatcher(None, answer, gold, autojunk=False).find_longest_match().size
    return 2 * length / (len(answer) + len(gold)) if length else 0.0
