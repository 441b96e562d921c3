"""Answers are read as SNS-Bench reads them, but for the two defects of its code."""

import json
from pathlib import Path

import pytest

from megatron_redone.config.build_preferences import Scorer
from megatron_redone.curation.benchmark_scorers import (
    PUBLISHED_CUT,
    cut_label,
    read_options,
    read_word_list,
    score_answer,
)
from tests.helpers import shared_data

RESULT = '<AnswerList>["x"]</AnswerList>\n<Result>{}</Result>'


def options(*names: str) -> str:
    return RESULT.format(json.dumps([{"Option": name, "Reason": "so"} for name in names]))


@pytest.mark.parametrize(
    ("scorer", "answer", "gold", "score"),
    [
        (Scorer.exact, " Yes\n", "Yes", 1),
        (Scorer.exact, "Yes.", "Yes", 0),
        (Scorer.label, "Answer: Trends, since it is new", "Trends", 1),
        (Scorer.label, "Friend<|im_end|>", "Friend", 1),
        (Scorer.label, "friend", "Friend", 0),
        (Scorer.label, "Yes. Because", "Yes", 1),
        (Scorer.label_path, "Food | Food Display | the Kitchen\nbecause", "Food|Food Display|Kitchen", 1),
        (Scorer.label_path, "Food | Food Display", "Food | Food Display | Kitchen", 0),
        (Scorer.label_set, "Women, Students\nthat is all", "Students,Girls", 0.5),
        (Scorer.label_set, "", "Students", 0),
        (Scorer.level, "The level is -1.", "-1", 1),
        (Scorer.level, "2 or 3", "3", 0),
        (Scorer.level, "unrelated", "0", 0),
        (Scorer.word_list, "I choose ['CC mode', 'baby'].", "['CC mode']", 2 / 3),
        (Scorer.word_list, "[]", "[]", 1),
        (Scorer.word_list, "[]", "['CC mode']", 0),
        (Scorer.word_list, "[__import__('os')]", "[]", 0),
        (Scorer.word_list, "none", "[]", 0),
        (Scorer.options, options("The Forbidden City"), options("The Forbidden City"), 1),
        (Scorer.options, options("Forbidden City", "Sea"), options("The Forbidden City"), (2 * 14 / 32 + 2 / 21) / 2),
        (Scorer.options, RESULT.format("[]"), RESULT.format("[]"), 1),
        (Scorer.options, RESULT.format("[]"), options("x"), 0),
        (Scorer.options, "no result", options("x"), 0),
        (Scorer.number, "So 3 x 24 = 72 clips, that is 1,072.0", "sum\n#### 1072", 1),
        (Scorer.number, "seventy-two", "#### 72", 0),
    ],
)
def test_scores(scorer: Scorer, answer: str, gold: str, score: float) -> None:
    assert score_answer(scorer, answer, gold) == pytest.approx(score)


def test_the_published_cut_and_ours() -> None:
    """The benchmark's pattern, copied from its code, cuts words that hold "end"; ours does not."""
    assert cut_label("Trends", PUBLISHED_CUT) == "Tr" and cut_label("Trends") == "Trends"
    assert cut_label("Pets<|end|>") == "Pets" == cut_label("Pets<|end|>", PUBLISHED_CUT)


def test_what_does_not_parse_is_told_from_what_is_empty() -> None:
    assert read_word_list("nothing") is None and read_word_list("[]") == set()
    assert read_options("nothing") is None and read_options(RESULT.format("[]")) == []


@shared_data.needs_shared_data
@pytest.mark.parametrize(
    ("task", "scorer"),
    [
        ("Taxonomy-single", Scorer.label),
        ("Taxonomy-multiple", Scorer.label_path),
        ("Hashtag-single", Scorer.label),
        ("Hashtag-multiple", Scorer.label_set),
        ("NER", Scorer.label_set),
        ("Gender", Scorer.label),
        ("QueryCorr-explain", Scorer.label),
        ("QueryCorr-topic", Scorer.level),
        ("CHLW", Scorer.word_list),
        ("MRC-complex", Scorer.options),
    ],
)
def test_every_gold_answer_of_the_benchmark_is_right(task: str, scorer: Scorer) -> None:
    """By the benchmark's own code they are not: 98.01 % of Taxonomy-single, 95.13 % of Taxonomy-multiple."""
    records = json.loads((Path(shared_data.FOLDER) / f"bench_dev/sns_bench_sample/Note-{task}.json").read_text())
    wrong = [r["answer"] for r in records if score_answer(scorer, r["answer"], r["answer"]) != 1]
    assert records and not wrong
    published = [r["answer"] for r in records if cut_label(r["answer"], PUBLISHED_CUT) != r["answer"].strip()]
    assert all(any(mark in answer for mark in ("end", ".", ",", "|", "<", "\n")) for answer in published)
