"""Pairs from a judge, once its agreement with people has been measured and is good enough."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from megatron_redone.config.build_preferences import AnnotatedConfig, JudgedConfig
from megatron_redone.curation.pair_building.agreement import cohen_kappa
from megatron_redone.curation.pair_building.annotated import read_labelled
from megatron_redone.curation.pair_building.judge import Judge, NoAnswer, Question, Verdict, ask_both_orders
from megatron_redone.curation.pair_building.labelled_records import (
    NoPair,
    Pair,
    Record,
    no_pair,
    read_source,
    responses_of,
)
from megatron_redone.curation.pair_building.labels import sign
from megatron_redone.curation.pair_building.result import Result, collect
from megatron_redone.errors import UserError
from megatron_redone.formats.input_records import InvalidRecordError


class JudgeRefused(UserError):
    """A judge that does not agree with people well enough to be used."""


@dataclass(frozen=True, kw_only=True)
class JudgeAgreement:
    """A judge beside people, on pairs of responses.

    Attributes:
        kappa: Cohen's, between the judge and the majority of the annotators (first better, second better, tie; a
            judge whose preference depends on the order has none); None where chance would agree on everything.
        accuracy: Share of the pairs with a majority on which the judge has the same preference; None without such.
        consistent: Share of the pairs on which both orders give the same preference.
        first_preferred: Share of the answers with a preference that prefer what was shown first; a half is unbiased.
        pairs: On how many it was measured.
        unanswered: Pairs that the judge gave no scores for, by reason.
    """

    kappa: float | None
    accuracy: float | None
    consistent: float
    first_preferred: float | None
    pairs: int
    unanswered: dict[str, int]


def measure_judge(judge: Judge, people: AnnotatedConfig) -> JudgeAgreement:
    """Puts every pair that people compared before a judge, in both orders.

    Raises:
        UserError: the judge answers none, or see `read_labelled`.
    """
    questions: list[Question] = []
    majorities: list[int] = []
    for entry in read_labelled(people).good:
        for i, j in combinations(range(len(entry.responses)), 2):
            if leads := entry.leads(i, j):
                questions.append(_question(entry.record, entry.responses, i, j))
                majorities.append(sign(sum(leads)))
    verdicts = ask_both_orders(judge, questions)
    measured = [(v, m) for v, m in zip(verdicts, majorities, strict=True) if isinstance(v, Verdict)]
    unanswered = [verdict.reason for verdict in verdicts if isinstance(verdict, NoAnswer)]
    if not measured:
        why = f"; the first: {unanswered[0]}" if unanswered else ""
        raise UserError(f"the judge answers none of the {len(questions)} pairs that people compared{why}")
    return _agreement([v for v, _ in measured], [m for _, m in measured], unanswered)


def build_judged(config: JudgedConfig, people: AnnotatedConfig, judge: Judge, human_judge: Judge) -> Result:
    """Measures the judge; if it may be used, takes the pairs on which both orders agree.

    Args:
        config: The entry.
        people: The entry of `annotated` that it names.
        judge: For the records of the entry.
        human_judge: The same judge, for the records that people labelled.

    Raises:
        JudgeRefused: it agrees with people too little, or on too few pairs to tell.
        UserError: see `read_source` and `measure_judge`.
    """
    agreement = measure_judge(human_judge, people)
    _check(config, agreement)
    records = read_source(config.source)
    outcomes: list[Pair | NoPair] = []
    questions: list[Question] = []
    owners: list[Record] = []
    for record in records.good:
        try:
            responses = responses_of(record, config.responses)
        except InvalidRecordError as reason:
            outcomes.append(no_pair(record, reason))
            continue
        for i, j in combinations(range(len(responses)), 2):
            questions.append(_question(record, responses, i, j))
            owners.append(record)
    for record, question, verdict in zip(owners, questions, ask_both_orders(judge, questions), strict=True):
        outcomes.append(_outcome(config, record, question, verdict))
    return collect(records, outcomes, {"judge": _identity(config), "agreement": dataclasses.asdict(agreement)})


def _question(record: Record, responses: list[str], i: int, j: int) -> Question:
    return Question(record.id, record.messages, (i + 1, j + 1), responses[i], responses[j])


def _agreement(verdicts: Sequence[Verdict], majorities: Sequence[int], unanswered: list[str]) -> JudgeAgreement:
    decided = [(v.preference, m) for v, m in zip(verdicts, majorities, strict=True) if m]
    # Of the scores of both orders, those that prefer what was shown first, and those that prefer the other.
    shown_first = [sign(v.forward[0] - v.forward[1]) for v in verdicts]
    shown_first += [sign(v.backward[1] - v.backward[0]) for v in verdicts]
    clear = [side for side in shown_first if side]
    return JudgeAgreement(
        kappa=cohen_kappa([verdict.preference for verdict in verdicts], majorities),
        accuracy=sum(p == m for p, m in decided) / len(decided) if decided else None,
        consistent=sum(verdict.is_consistent for verdict in verdicts) / len(verdicts),
        first_preferred=clear.count(1) / len(clear) if clear else None,
        pairs=len(verdicts),
        unanswered={reason: unanswered.count(reason) for reason in dict.fromkeys(unanswered)},
    )


def _check(config: JudgedConfig, agreement: JudgeAgreement) -> None:
    if agreement.pairs < config.min_measured:
        raise JudgeRefused(
            f"{config.name}: the judge was measured on {agreement.pairs} pairs only, min_measured={config.min_measured}"
        )
    if agreement.kappa is None or agreement.kappa < config.min_agreement:
        kappa = "undefined" if agreement.kappa is None else f"{agreement.kappa:.3f}"
        raise JudgeRefused(
            f"{config.name}: the judge is not used: its kappa with '{config.human}' is {kappa} over {agreement.pairs} "
            f"pairs in both orders (orders agree on {agreement.consistent:.1%}), below "
            f"min_agreement={config.min_agreement:g}; take a better judge or prompt"
        )


def _outcome(config: JudgedConfig, record: Record, question: Question, verdict: Verdict | NoAnswer) -> Pair | NoPair:
    reason = _objection(config, question, verdict)
    if reason is not None:
        return no_pair(record, reason)
    assert isinstance(verdict, Verdict)
    texts, scores, numbers = (question.first, question.second), verdict.scores, question.numbers
    better = 0 if verdict.preference > 0 else 1
    return Pair(
        record=record,
        chosen=texts[better],
        rejected=texts[1 - better],
        chosen_reward=scores[better],
        rejected_reward=scores[1 - better],
        provenance={
            "responses": [numbers[better], numbers[1 - better]],
            "judge": _identity(config),
            "scores": {"as_listed": list(verdict.forward), "swapped": list(verdict.backward)},
        },
    )


def _objection(config: JudgedConfig, question: Question, verdict: Verdict | NoAnswer) -> str | None:
    if question.first.strip() == question.second.strip():
        return "both responses are the same"
    if isinstance(verdict, NoAnswer):
        return verdict.reason
    if not verdict.is_consistent:
        return "the judge's preference depends on the order"
    if verdict.preference == 0:
        return "a tie"
    return "lead below min_margin" if abs(verdict.scores[0] - verdict.scores[1]) < config.min_margin else None


def _identity(config: JudgedConfig) -> dict[str, Any]:
    if config.endpoint is not None:
        return {"model": config.endpoint.model, "base_url": config.endpoint.base_url}
    return {"scores": config.scores}
