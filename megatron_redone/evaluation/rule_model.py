"""Rules in the place of a model: the harness asks them as it would a model, and scores what they answer alike."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

Rule = Callable[[Any], Any]
"""From an item to an answer: a text, or the number of a choice."""


class RuleModel(LM):
    """See the head of this file."""

    def __init__(self, rule: Rule) -> None:
        """Takes what answers."""
        super().__init__()
        self._rule = rule

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """The choice is certain, and the others are impossible."""
        chosen = [request.idx == self._rule(request.doc) for request in requests]
        return [(0.0 if is_chosen else -1e9, is_chosen) for is_chosen in chosen]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """A rule has no probabilities."""
        raise NotImplementedError

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """The rule's answers."""
        return [self._rule(request.doc) for request in requests]


def rules_for(task: Any, docs: Sequence[Any], seed: int) -> dict[str, Rule]:
    """The rules of a task: those that its items bring, the commonest right answer, and a random one.

    Args:
        task: The harness's.
        docs: Its items.
        seed: Of the random answer.
    """
    if task.OUTPUT_TYPE not in ("multiple_choice", "generate_until"):
        return {}
    named = [*json.loads(docs[0]["rules"])] if "rules" in docs[0] else []
    rules: dict[str, Rule] = {name: _named(name) for name in named}
    golds = [_as_an_answer(doc, task.doc_to_target(doc)) for doc in docs]
    if not all(isinstance(gold, str | int) for gold in golds) or len({type(gold) for gold in golds}) > 1:
        return rules
    if isinstance(golds[0], int) and task.OUTPUT_TYPE == "generate_until":
        return rules  # no answer, but a number that stands in its place
    places = {_key(doc): number for number, doc in enumerate(docs)}
    majority = Counter(golds).most_common(1)[0][0]
    drawn = _random_answers(task, docs, golds, seed)
    rules["majority"] = lambda doc: majority
    rules["random"] = lambda doc: drawn[places[_key(doc)]]
    return rules


def _random_answers(task: Any, docs: Sequence[Any], golds: Sequence[Any], seed: int) -> list[Any]:
    """Any of the choices, or the right answer of any other item."""
    random = np.random.default_rng(seed)
    if task.OUTPUT_TYPE == "multiple_choice":
        return [int(random.integers(len(task.doc_to_choice(doc)))) for doc in docs]
    others = random.integers(1, max(2, len(docs)), len(docs)).tolist()
    return [golds[(number + other) % len(docs)] for number, other in enumerate(others)]


def _as_an_answer(doc: Any, gold: Any) -> Any:
    """A right answer in the words that the item's score looks for, where it says which (`answer_form`)."""
    return doc["answer_form"].format(gold) if "answer_form" in doc else gold


def _named(name: str) -> Rule:
    return lambda doc: json.loads(doc["rules"])[name]


def _key(doc: Any) -> str:
    return json.dumps(doc, sort_keys=True, default=str)
