"""`redone build-preferences`: pairs from people's labels, from a judge, from wrong answers and from wrong options.

Every entry of the configuration is a piece of work of its own, with its own files and its own done-marker; a run
that was interrupted goes on with the entry at which it was, and asks a judge or a model for nothing twice.
"""

import dataclasses
import fcntl
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from megatron_redone.config.build_preferences import (
    AnnotatedConfig,
    BuildPreferencesConfig,
    JudgedConfig,
    ObjectiveConfig,
    StructuralConfig,
)
from megatron_redone.config.schema import deciding_values, work_hash
from megatron_redone.curation.pair_building.annotated import build_annotated
from megatron_redone.curation.pair_building.answer_cache import AnswerCache
from megatron_redone.curation.pair_building.judge_endpoint import judge_from_endpoint
from megatron_redone.curation.pair_building.judge_scores import judge_from_files
from megatron_redone.curation.pair_building.judged import JudgeRefused, build_judged
from megatron_redone.curation.pair_building.labelled_records import read_source
from megatron_redone.curation.pair_building.pair_files import (
    Entry,
    EntryFiles,
    tell,
    write_result,
    write_skipped,
)
from megatron_redone.curation.pair_building.policy_mistakes import Candidate, build_objective, read_candidates
from megatron_redone.curation.pair_building.result import Result
from megatron_redone.curation.pair_building.structural import build_structural
from megatron_redone.errors import UserError
from megatron_redone.formats.inputs import expand_inputs

log = logging.getLogger(__name__)


def run(config: BuildPreferencesConfig) -> None:
    """Writes for every entry NAME.jsonl, NAME.summary.json and, where records gave no pair, NAME.skipped.jsonl.

    A judge that is refused keeps no other entry from being built; the run ends in the error all the same.

    Raises:
        UserError: for anything that the user can mend: see the message.
    """
    output = Path(config.output_dir)
    workshop = _Workshop(config, output)
    refused: list[str] = []
    with _lock(output):
        for entry in config.entries():
            try:
                _build(workshop, entry)
            except JudgeRefused as error:
                refused.append(str(error))
    if refused:
        raise JudgeRefused("; ".join(refused))


@contextmanager
def _lock(output: Path) -> Iterator[None]:
    """Keeps a second run out of the folder; the system lets go when the process ends."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        stream = open(output / ".lock", "a")
    except OSError as error:
        raise UserError(f"output_dir: {output} cannot be written to ({error.strerror})") from None
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"output_dir: another run is writing to {output}") from None
        yield


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
    if _is_complete(config, files, work):
        log.info("%s: complete already, nothing to do", entry.name)
        return
    result = _BUILDERS[type(entry)](workshop, entry)
    write_skipped(files, result)  # first, so that they can be looked at where there are too many of them
    _check(config, files, result)
    tell(write_result(files, entry, result, work), result.pairs[: config.examples])


# What an entry gives depends on


def _work(workshop: _Workshop, entry: Entry) -> str:
    """Sixteen hexadecimal digits over everything that decides what an entry gives."""
    facts: list[Any] = [type(entry).__name__]
    names = list(entry.source.input)
    if isinstance(entry, JudgedConfig):
        people = workshop.people(entry)
        facts.append(deciding_values(people))
        names += [*people.source.input, *entry.scores, *entry.human_scores]
    if isinstance(entry, ObjectiveConfig):
        names += entry.candidates
        facts.append(None if entry.policy is None else _policy_fingerprint(entry))
    files = [dataclasses.astuple(file) for file in expand_inputs(names)]
    return work_hash(entry, *facts, files)


def _policy_fingerprint(entry: ObjectiveConfig) -> str:
    from megatron_redone.generation.model_files import model_fingerprint

    assert entry.policy is not None
    return model_fingerprint(entry.policy.path, entry.policy.chat_template)


def _is_complete(config: BuildPreferencesConfig, files: EntryFiles, work: str) -> bool:
    """Whether the pairs are there already, made from the same things; refuses to replace others."""
    if not (files.summary.is_file() and files.pairs.is_file()):
        return False
    try:
        summary = json.loads(files.summary.read_text(encoding="utf-8"))
    except ValueError:
        summary = {}
    if summary.get("work") == work:
        return True
    if not config.overwrite:
        raise UserError(
            f"{files.summary}: tells of pairs that were made from other input or settings; "
            "choose another name or output_dir, or set overwrite=true"
        )
    return False


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


def _check(config: BuildPreferencesConfig, files: EntryFiles, result: Result) -> None:
    malformed = [item for item in result.skipped if item.malformed]
    total = result.records.total
    if len(malformed) > config.max_rejected * total:
        raise UserError(
            f"{files.name}: {len(malformed):,} of {total:,} records are malformed, more than "
            f"max_rejected={config.max_rejected:g}; they are in {files.skipped}, "
            f"the first is {malformed[0].origin}: {malformed[0].reason}"
        )
    if not result.pairs:
        reasons = "; ".join(f"{count:,} x {reason}" for reason, count in result.skipped_by_reason.items())
        raise UserError(f"{files.name}: not one pair came of {total:,} records ({reasons})")
