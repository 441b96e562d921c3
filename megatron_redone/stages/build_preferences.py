"""`redone build-preferences`: pairs from people's labels, from a judge, from wrong answers and from wrong options.

Every entry of the configuration is a piece of work of its own, with its own files and its own summary; a run that was
interrupted goes on with the entry at which it was, and asks a judge or a model for nothing twice.
"""

import dataclasses
<<<<<<< HEAD
=======
from collections.abc import Callable
>>>>>>> c5dea9f (Damage to any output of a data stage is found by the same command; build-preferences on the one lock and done check)
from pathlib import Path
from typing import Any

from megatron_redone.config.build_preferences import (
    AnnotatedConfig,
    BuildPreferencesConfig,
    JudgedConfig,
    ObjectiveConfig,
)
from megatron_redone.config.schema import deciding_values, work_hash
from megatron_redone.curation.pair_building.answer_cache import AnswerCache
from megatron_redone.curation.pair_building.judged import JudgeRefused
from megatron_redone.curation.pair_building.pair_files import (
    Entry,
    EntryFiles,
    finished_entry,
<<<<<<< HEAD
    log_result,
    write_no_pairs,
=======
    tell,
>>>>>>> c5dea9f (Damage to any output of a data stage is found by the same command; build-preferences on the one lock and done check)
    write_result,
)
from megatron_redone.curation.pair_building.result import Result
from megatron_redone.curation.pair_building.strategies import OpenPolicy, build_entry, files_of_entry
from megatron_redone.errors import UserError
from megatron_redone.formats.atomic import writing_errors
from megatron_redone.formats.inputs import expand_inputs
from megatron_redone.formats.lock import folder_lock
from megatron_redone.formats.work import is_complete


def run(config: BuildPreferencesConfig) -> None:
    """Writes for every entry NAME.jsonl, NAME.summary.json and, where records gave no pair, NAME.no_pairs.jsonl.

    A judge that is refused keeps no other entry from being built; the run ends in the error all the same.

    Raises:
        UserError: for anything that the user can mend: see the message.
    """
    open_policy = _policies()
    refused: list[str] = []
<<<<<<< HEAD
    with folder_lock(Path(config.output_dir)) as output:
=======
    with writing_errors(output), folder_lock(output):
>>>>>>> c5dea9f (Damage to any output of a data stage is found by the same command; build-preferences on the one lock and done check)
        for entry in config.entries():
            try:
                _build(config, entry, EntryFiles(output, entry.name), open_policy)
            except JudgeRefused as error:
                refused.append(str(error))
    if refused:
        raise JudgeRefused("; ".join(refused))


<<<<<<< HEAD
def _build(config: BuildPreferencesConfig, entry: Entry, files: EntryFiles, open_policy: OpenPolicy) -> None:
    people = _people(config, entry)
    work = _work(entry, people)
=======
class _Workshop:
    """What the entries of a run share.

    Attributes:
        config: Of the whole run.
        output: The folder.
    """

    def __init__(self, config: BuildPreferencesConfig, output: Path) -> None:
        self.config = config
        self.output = output
        self._engines: Any = None

    def people(self, entry: JudgedConfig) -> AnnotatedConfig:
        """The entry on whose labels a judge is measured."""
        return next(people for people in self.config.annotated if people.name == entry.human)

    def policy(self, entry: ObjectiveConfig, cache: AnswerCache) -> Any:
        """The policy of an entry; torch is imported only where there is one."""
        from megatron_redone.generation.policy import Policy
        from megatron_redone.generation.policy_engine import EngineCache

        assert entry.policy is not None
        self._engines = self._engines or EngineCache()
        return Policy(entry.policy, entry.likelihood, cache, self._engines)


def _build(workshop: _Workshop, entry: Entry) -> None:
    config = workshop.config
    files = EntryFiles(workshop.output, entry.name)
    work = _work(workshop, entry)
>>>>>>> c5dea9f (Damage to any output of a data stage is found by the same command; build-preferences on the one lock and done check)
    if is_complete(finished_entry(files), work, overwrite=config.overwrite, place=str(files.pairs)):
        return
    result = build_entry(entry, people, files.folder, open_policy)
    write_no_pairs(files, result)  # first, so that they can be looked at where there are too many of them
    _check(config, files, result)
    log_result(write_result(files, entry, result, work), result.pairs[: config.examples])


def _people(config: BuildPreferencesConfig, entry: Entry) -> AnnotatedConfig | None:
    """The entry on whose labels a judge is measured."""
    if not isinstance(entry, JudgedConfig):
        return None
    return next(people for people in config.annotated if people.name == entry.human)


def _work(entry: Entry, people: AnnotatedConfig | None) -> str:
    """Sixteen hexadecimal digits over everything that decides what an entry gives."""
    facts: list[Any] = [type(entry).__name__]
    if people is not None:
        facts.append(deciding_values(people))
    if isinstance(entry, ObjectiveConfig) and entry.policy is not None:
        from megatron_redone.generation.model_files import model_fingerprint

        facts.append(model_fingerprint(entry.policy.path, entry.policy.chat_template))
    files = [dataclasses.astuple(file) for file in expand_inputs(files_of_entry(entry, people))]
    return work_hash(entry, *facts, files)


def _policies() -> OpenPolicy:
    """Opens policies that share the model in memory; torch is imported only where there is one."""
    engines: Any = None

    def open_policy(entry: ObjectiveConfig, cache: AnswerCache) -> Any:
        from megatron_redone.generation.policy import Policy
        from megatron_redone.generation.policy_engine import EngineCache

        nonlocal engines
        engines = engines or EngineCache()
        assert entry.policy is not None
        return Policy(entry.policy, entry.likelihood, cache, engines)

<<<<<<< HEAD
    return open_policy
=======
# The strategies


def _annotated(_: _Workshop, entry: AnnotatedConfig) -> Result:
    return build_annotated(entry)


def _judged(workshop: _Workshop, entry: JudgedConfig) -> Result:
    people = workshop.people(entry)
    if entry.endpoint is None:
        judge = judge_from_files(entry.scores)
        human_judge = judge_from_files(entry.human_scores) if entry.human_scores else judge
        return build_judged(entry, people, judge, human_judge)
    with AnswerCache(workshop.output / f"{entry.name}.judge.jsonl") as cache:
        judge = judge_from_endpoint(entry.endpoint, cache)
        return build_judged(entry, people, judge, judge)


def _objective(workshop: _Workshop, entry: ObjectiveConfig) -> Result:
    records = read_source(entry.source)
    candidates: dict[str, Any] = read_candidates(entry, records.good)
    if entry.policy is None:
        return build_objective(entry, records, candidates, None)
    with AnswerCache(workshop.output / f"{entry.name}.policy.jsonl") as cache:
        policy = workshop.policy(entry, cache)
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


def _structural(_: _Workshop, entry: StructuralConfig) -> Result:
    return build_structural(entry, read_source(entry.source))


_BUILDERS: dict[type, Callable[[_Workshop, Any], Result]] = {
    AnnotatedConfig: _annotated,
    JudgedConfig: _judged,
    ObjectiveConfig: _objective,
    StructuralConfig: _structural,
}
>>>>>>> c5dea9f (Damage to any output of a data stage is found by the same command; build-preferences on the one lock and done check)


def _check(config: BuildPreferencesConfig, files: EntryFiles, result: Result) -> None:
    invalid = [item for item in result.no_pairs if item.is_invalid]
    total = result.records.total
    if len(invalid) > config.max_rejected * total:
        raise UserError(
            f"{files.name}: {len(invalid):,} of {total:,} records are invalid, more than "
            f"max_rejected={config.max_rejected:g}; they are in {files.no_pairs}, "
            f"the first is {invalid[0].origin}: {invalid[0].reason}"
        )
    if not result.pairs:
        reasons = "; ".join(f"{count:,} x {reason}" for reason, count in result.no_pair_by_reason.items())
        raise UserError(f"{files.name}: not one pair came of {total:,} records ({reasons})")
