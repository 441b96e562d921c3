"""The strategies of `redone build-preferences`: from an entry of its configuration to pairs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from megatron_redone.config.build_preferences import (
    AnnotatedConfig,
    JudgedConfig,
    ObjectiveConfig,
    SamplingConfig,
    StructuralConfig,
)
from megatron_redone.curation.pair_building.annotated import build_annotated
from megatron_redone.curation.pair_building.answer_cache import AnswerCache
from megatron_redone.curation.pair_building.judge_endpoint import judge_from_endpoint
from megatron_redone.curation.pair_building.judge_scores import judge_from_files
from megatron_redone.curation.pair_building.judged import build_judged
from megatron_redone.curation.pair_building.labelled_records import Messages, read_source
from megatron_redone.curation.pair_building.pair_files import Entry
from megatron_redone.curation.pair_building.policy_mistakes import (
    Answers,
    Candidate,
    build_objective,
    read_candidates,
)
from megatron_redone.curation.pair_building.result import Result
from megatron_redone.curation.pair_building.structural import build_structural


class Policy(Protocol):
    """A model that answers, and knows how likely it finds an answer."""

    def sample(self, prompts: Sequence[Messages], sampling: SamplingConfig) -> list[list[str] | None]:
        """Answers to every prompt; None where the prompt leaves no room for one."""
        ...

    def log_probs(self, answers: Answers) -> list[float | None]:
        """Log-probability of every answer; None where prompt and answer are too long."""
        ...


OpenPolicy = Callable[[ObjectiveConfig, AnswerCache], Policy]
"""From an entry, and what earlier runs computed for it, to its policy."""


def build_entry(entry: Entry, people: AnnotatedConfig | None, folder: Path, open_policy: OpenPolicy) -> Result:
    """The pairs of an entry.

    Args:
        entry: Which one.
        people: Of a `judged` entry, the entry on whose labels the judge is measured.
        folder: Where answers of a judge or a policy are kept.
        open_policy: Called where an entry has a policy.

    Raises:
        UserError: see the strategies' own modules.
    """
    if isinstance(entry, AnnotatedConfig):
        return build_annotated(entry)
    if isinstance(entry, StructuralConfig):
        return build_structural(entry, read_source(entry.source))
    if isinstance(entry, ObjectiveConfig):
        return _objective(entry, folder, open_policy)
    assert people is not None
    return _judged(entry, people, folder)


def files_of_entry(entry: Entry, people: AnnotatedConfig | None) -> list[str]:
    """The names of all files that an entry reads, as the configuration has them."""
    names = list(entry.source.input)
    if isinstance(entry, JudgedConfig):
        assert people is not None
        names += [*people.source.input, *entry.scores, *entry.human_scores]
    if isinstance(entry, ObjectiveConfig):
        names += entry.candidates
    return names


def _judged(entry: JudgedConfig, people: AnnotatedConfig, folder: Path) -> Result:
    if entry.endpoint is None:
        judge = judge_from_files(entry.scores)
        human_judge = judge_from_files(entry.human_scores) if entry.human_scores else judge
        return build_judged(entry, people, judge, human_judge)
    with AnswerCache(folder / f"{entry.name}.judge.jsonl") as cache:
        judge = judge_from_endpoint(entry.endpoint, cache)
        return build_judged(entry, people, judge, judge)


def _objective(entry: ObjectiveConfig, folder: Path, open_policy: OpenPolicy) -> Result:
    records = read_source(entry.source)
    candidates: dict[str, Any] = read_candidates(entry, records.good)
    if entry.policy is None:
        return build_objective(entry, records, candidates, None)
    with AnswerCache(folder / f"{entry.name}.policy.jsonl") as cache:
        policy = open_policy(entry, cache)
        if entry.sampling.samples:
            drawn = policy.sample([record.messages for record in records.good], entry.sampling)
            for record, answers in zip(records.good, drawn, strict=True):
                _add_answers(candidates, record.id, answers)
        return build_objective(entry, records, candidates, policy.log_probs)


def _add_answers(candidates: dict[str, Any], record: str, answers: list[str] | None) -> None:
    known = candidates.get(record)
    if answers is not None and (known is None or isinstance(known, list)):
        candidates[record] = [*(known or []), *(Candidate(text) for text in answers)]
    elif answers is None:
        candidates.setdefault(record, "too long for the policy")
