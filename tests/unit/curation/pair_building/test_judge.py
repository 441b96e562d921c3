"""A win counts only where it is one in both orders."""

import itertools
from collections.abc import Sequence

from megatron_redone.curation.pair_building.judge import (
    NoAnswer,
    Question,
    Scores,
    Verdict,
    ask_both_orders,
)

PROMPT = [{"role": "user", "content": "?"}]
QUESTIONS = [Question(str(i), PROMPT, (1, 2), "x" * i, "y" * (5 - i)) for i in range(6)]


def fair(questions: Sequence[Question]) -> list[Scores | NoAnswer]:
    """Counts letters."""
    return [(float(len(question.first)), float(len(question.second))) for question in questions]


def biased(questions: Sequence[Question]) -> list[Scores | NoAnswer]:
    """Likes what it sees first."""
    return [(9.0, 1.0) for _ in questions]


def test_a_judge_of_content_says_the_same_in_both_orders() -> None:
    for question, verdict in zip(QUESTIONS, ask_both_orders(fair, QUESTIONS), strict=True):
        assert isinstance(verdict, Verdict) and verdict.is_consistent
        assert verdict.scores == verdict.forward == (len(question.first), len(question.second))
        assert verdict.preference == (1 if len(question.first) > len(question.second) else -1)


def test_a_judge_of_places_prefers_nothing() -> None:
    for verdict in ask_both_orders(biased, QUESTIONS):
        assert isinstance(verdict, Verdict) and not verdict.is_consistent
        assert verdict.preference == 0 and verdict.scores == (5.0, 5.0)


def test_the_other_way_round_the_verdict_is_the_opposite() -> None:
    for scores in itertools.product((1.0, 2.0, 3.0), repeat=4):
        verdict, other = Verdict(scores[:2], scores[2:]), Verdict(scores[1::-1], scores[:1:-1])
        assert other.preference == -verdict.preference and other.is_consistent == verdict.is_consistent
        assert other.scores == verdict.scores[::-1]
    assert QUESTIONS[1].reversed().reversed() == QUESTIONS[1] != QUESTIONS[1].reversed()


def test_a_question_that_one_order_leaves_open_is_open() -> None:
    def half(questions: Sequence[Question]) -> list[Scores | NoAnswer]:
        return [NoAnswer("silent") if question.numbers == (2, 1) else (1.0, 2.0) for question in questions]

    assert ask_both_orders(half, QUESTIONS) == [NoAnswer("silent")] * 6
