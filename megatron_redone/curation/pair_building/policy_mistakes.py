"""Pairs of a gold answer and the wrong answer that the policy finds likeliest: the one it most needs to unlearn."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from megatron_redone.config.build_preferences import ObjectiveConfig
from megatron_redone.curation.benchmark_scorers import score_answer
from megatron_redone.curation.pair_building.labelled_records import (
    Messages,
    NoPair,
    Pair,
    Record,
    Records,
    gold_of,
    no_pair,
)
from megatron_redone.curation.pair_building.objects import JsonObject, read_objects
from megatron_redone.curation.pair_building.result import Result, collect
from megatron_redone.errors import UserError
from megatron_redone.formats.input_records import InvalidRecordError
from megatron_redone.formats.inputs import expand_inputs


@dataclass(frozen=True)
class Candidate:
    """An answer that may be wrong, and its log-probability under the policy where that is known."""

    text: str
    log_prob: float | None = None


Answers = Sequence[tuple[Messages, str]]
"""Prompts, each with an answer to it."""

Unanswered = str
"""Why a record has no candidates."""

LogProbs = Callable[[Answers], list[float | None]]
"""Log-probability of every answer under the policy; None where prompt and answer are too long for it."""


@dataclass(frozen=True)
class _Question:
    """A record with its right answer and the wrong ones, each with its score."""

    record: Record
    gold: str
    wrong: list[tuple[Candidate, float]]
    candidates: int


def read_candidates(
    config: ObjectiveConfig, records: Sequence[Record]
) -> dict[str, list[Candidate] | InvalidRecordError]:
    """The answers that stand in files and in the records themselves, by record: all of them, files' before records'.

    Raises:
        UserError: a file is missing, or holds something else.
    """
    found: dict[str, list[Candidate] | InvalidRecordError] = {}
    for item in read_objects(expand_inputs(config.candidates)) if config.candidates else ():
        if not isinstance(item, JsonObject) or "id" not in item.fields or "candidates" not in item.fields:
            raise UserError(f'{item.file}:{item.place}: not of the form {{"id": "...", "candidates": [...]}}')
        _add(found, str(item.fields["id"]), _candidates(item.fields["candidates"]))
    if config.candidates_key is not None:
        for record in records:
            if config.candidates_key in record.fields or record.id not in found:
                _add(found, record.id, _candidates(record.fields.get(config.candidates_key)))
    return found


def build_objective(
    config: ObjectiveConfig,
    records: Records,
    candidates: Mapping[str, list[Candidate] | Unanswered | InvalidRecordError],
    log_probs: LogProbs | None,
) -> Result:
    """Takes of every record's wrong answers the likeliest. The rewards of a pair are the scores of its answers.

    Args:
        config: The entry.
        records: Its source, read.
        candidates: Answers by the id of the record that they answer, or why there are none.
        log_probs: The policy; None where there is none to ask, and candidates bring their log-probabilities.

    Raises:
        UserError: likelihoods are needed and neither given nor to be had.
    """
    outcomes: list[Pair | NoPair] = []
    questions: list[_Question] = []
    for record in records.good:
        made = _question(config, record, candidates.get(record.id) or "no candidates")
        if isinstance(made, NoPair):
            outcomes.append(made)
        else:
            questions.append(made)
    known = _likelihoods(config, questions, log_probs)
    outcomes += [_outcome(config, question, known) for question in questions]
    wrong = sum(len(question.wrong) for question in questions)
    metrics = {"candidates": sum(question.candidates for question in questions), "wrong_candidates": wrong}
    return collect(records, outcomes, metrics)


def _add(
    found: dict[str, list[Candidate] | InvalidRecordError], record: str, more: list[Candidate] | InvalidRecordError
) -> None:
    """Joins what stands in several places; what is wrong in one is wrong of the record."""
    known = found.get(record, [])
    if isinstance(known, list):
        found[record] = [*known, *more] if isinstance(more, list) else more


def _candidates(values: Any) -> list[Candidate] | InvalidRecordError:
    if not isinstance(values, list):
        return InvalidRecordError("the candidates are no list")
    candidates = []
    for value in values:
        fields = {"text": value} if isinstance(value, str) else value
        if not isinstance(fields, dict) or not isinstance(fields.get("text"), str):
            return InvalidRecordError("a candidate is neither a string nor an object with a text")
        log_prob = fields.get("log_prob")
        if log_prob is not None and (not isinstance(log_prob, (int, float)) or isinstance(log_prob, bool)):
            return InvalidRecordError("a candidate's log_prob is no number")
        candidates.append(Candidate(fields["text"], log_prob))
    return candidates


def _question(
    config: ObjectiveConfig, record: Record, candidates: list[Candidate] | Unanswered | InvalidRecordError
) -> _Question | NoPair:
    try:
        gold = gold_of(record, config.gold_key)
    except InvalidRecordError as reason:
        return no_pair(record, reason)
    if not isinstance(candidates, list):
        return no_pair(record, candidates)
    distinct = {candidate.text.strip(): candidate for candidate in reversed(candidates)}
    scored = [(candidate, score_answer(config.scorer, text, gold)) for text, candidate in distinct.items() if text]
    wrong = [(candidate, score) for candidate, score in reversed(scored) if score < config.wrong_below]
    return _Question(record, gold, wrong, len(candidates))


def _likelihoods(
    config: ObjectiveConfig, questions: Sequence[_Question], log_probs: LogProbs | None
) -> dict[tuple[str, str], float | None]:
    """Of every wrong answer, by record and text: the policy's, where there is one, before those that came along."""
    wrong = [(question.record, candidate) for question in questions for candidate, _ in question.wrong]
    if log_probs is not None:
        values = log_probs([(record.messages, candidate.text) for record, candidate in wrong])
    else:
        values = [candidate.log_prob for _, candidate in wrong]
        _check_known(config, questions)
    return {(record.id, candidate.text): value for (record, candidate), value in zip(wrong, values, strict=True)}


def _check_known(config: ObjectiveConfig, questions: Sequence[_Question]) -> None:
    """A single wrong answer needs no likelihood; of several the likeliest must be known."""
    lacking = [q for q in questions if len(q.wrong) > 1 and any(c.log_prob is None for c, _ in q.wrong)]
    if lacking:
        raise UserError(
            f"{config.name}: {len(lacking)} records have several wrong answers without log_prob, so that the likeliest "
            "is not known; give policy.path, or log_prob in the candidates"
        )


def _outcome(config: ObjectiveConfig, question: _Question, known: dict[tuple[str, str], float | None]) -> Pair | NoPair:
    if not question.wrong:
        return no_pair(question.record, "no candidate is wrong")
    ranked = [(known[question.record.id, candidate.text], candidate, score) for candidate, score in question.wrong]
    if len(ranked) > 1:
        ranked = [entry for entry in ranked if entry[0] is not None]
    if not ranked:
        return no_pair(question.record, "too long for the policy")
    log_prob, hardest, score = max(ranked, key=lambda entry: entry[0] or 0.0)
    return Pair(
        record=question.record,
        chosen=question.gold,
        rejected=hardest.text,
        chosen_reward=1.0,
        rejected_reward=score,
        provenance={
            "scorer": config.scorer.name,
            "candidates": question.candidates,
            "wrong_candidates": len(question.wrong),
            "rejected_log_prob": log_prob,
        },
    )
