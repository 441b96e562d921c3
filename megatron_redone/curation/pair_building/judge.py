"""A judge: what it is asked, and what it means if its scores depend on the order in which it saw two responses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from megatron_redone.curation.pair_building.labelled_records import Messages
from megatron_redone.curation.pair_building.labels import sign


@dataclass(frozen=True)
class Question:
    """Two responses to a prompt, in the order in which the judge is to see them.

    Attributes:
        record: The id of the record.
        messages: The prompt.
        numbers: Of the two responses in the record, from 1.
        first: The text of the response that is shown first.
        second: The text of the other.
    """

    record: str
    messages: Messages
    numbers: tuple[int, int]
    first: str
    second: str

    def reversed(self) -> "Question":
        """The same responses in the other order."""
        return Question(self.record, self.messages, (self.numbers[1], self.numbers[0]), self.second, self.first)


@dataclass(frozen=True)
class NoAnswer:
    """A question that the judge did not answer, and why."""

    reason: str


Scores = tuple[float, float]
"""Of the response shown first and of the other; higher is better."""

Judge = Callable[[Sequence[Question]], list[Scores | NoAnswer]]
"""Answers every question, in order."""


@dataclass(frozen=True)
class Verdict:
    """What a judge says of two responses after it has seen them in both orders.

    Attributes:
        forward: Scores of (first, second), shown in this order.
        backward: Scores of (first, second), shown the other way round.
    """

    forward: Scores
    backward: Scores

    @property
    def is_consistent(self) -> bool:
        """Whether both orders lead to the same preference."""
        return sign(self.forward[0] - self.forward[1]) == sign(self.backward[0] - self.backward[1])

    @property
    def preference(self) -> int:
        """1 for the first, -1 for the second, 0 for a tie.

        Where the orders disagree it is a tie: a win counts only if it is one in both (arXiv 2306.05685, section 3.4).
        """
        return sign(self.forward[0] - self.forward[1]) if self.is_consistent else 0

    @property
    def scores(self) -> Scores:
        """Means over both orders."""
        return (self.forward[0] + self.backward[0]) / 2, (self.forward[1] + self.backward[1]) / 2


def ask_both_orders(judge: Judge, questions: Sequence[Question]) -> list[Verdict | NoAnswer]:
    """Puts every question in both orders."""
    answers = judge([asked for question in questions for asked in (question, question.reversed())])
    return [_verdict(answers[i], answers[i + 1]) for i in range(0, len(answers), 2)]


def _verdict(forward: Scores | NoAnswer, backward: Scores | NoAnswer) -> Verdict | NoAnswer:
    for answer in (forward, backward):
        if isinstance(answer, NoAnswer):
            return answer
    assert isinstance(forward, tuple) and isinstance(backward, tuple)
    return Verdict(forward, (backward[1], backward[0]))
