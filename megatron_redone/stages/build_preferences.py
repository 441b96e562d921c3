"""`redone build-preferences`: pairs from people's labels, from a judge, from wrong answers and from wrong options.

Every entry of the configuration is a piece of work of its own, with its own files and its own summary; a run that was
interrupted goes on with the entry at which it was, and asks a judge or a model for nothing twice.
"""

import dataclasses
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
    log_result,
    write_no_pairs,
    write_result,
)
from megatron_redone.curation.pair_building.result import Result
from megatron_redone.curation.pair_building.strategies import OpenPolicy, build_entry, files_of_entry
from megatron_redone.errors import UserError
from megatron_redone.formats.atomic import writing_errors
from megatron_redone.formats.done_check import is_complete
from megatron_redone.formats.inputs import InputFile, expand_inputs, refuse_inputs_within
from megatron_redone.formats.lock import folder_lock


def run(config: BuildPreferencesConfig) -> None:
    """Writes for every entry NAME.jsonl, NAME.summary.json and, where records gave no pair, NAME.no_pairs.jsonl.

    A judge that is refused keeps no other entry from being built; the run ends in the error all the same.

    Raises:
        UserError: for anything that the user can mend: see the message.
    """
    open_policy = _policies()
    refused: list[str] = []
    with writing_errors(config.output_dir), folder_lock(Path(config.output_dir)) as output:
        for entry in config.entries():
            try:
                _build(config, entry, EntryFiles(output, entry.name), open_policy)
            except JudgeRefused as error:
                refused.append(str(error))
    if refused:
        raise JudgeRefused("; ".join(refused))


def _build(config: BuildPreferencesConfig, entry: Entry, files: EntryFiles, open_policy: OpenPolicy) -> None:
    people = _people(config, entry)
    inputs = expand_inputs(files_of_entry(entry, people))
    for path in (files.pairs, files.no_pairs):
        refuse_inputs_within(path, inputs)
    work = _work(entry, people, inputs)
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


def _work(entry: Entry, people: AnnotatedConfig | None, inputs: list[InputFile]) -> str:
    """Sixteen hexadecimal digits over everything that decides what an entry gives."""
    facts: list[Any] = [type(entry).__name__]
    if people is not None:
        facts.append(deciding_values(people))
    if isinstance(entry, ObjectiveConfig) and entry.policy is not None:
        from megatron_redone.generation.model_files import model_fingerprint

        facts.append(model_fingerprint(entry.policy.path, entry.policy.chat_template))
    return work_hash(entry, *facts, list(map(dataclasses.astuple, inputs)))


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

    return open_policy


def _check(config: BuildPreferencesConfig, files: EntryFiles, result: Result) -> None:
    invalid = [item for item in result.no_pairs if item.is_invalid]
    total = result.records.total
    if len(invalid) > config.max_invalid * total:
        raise UserError(
            f"{files.name}: {len(invalid):,} of {total:,} records are invalid, more than "
            f"max_invalid={config.max_invalid:g}; they are in {files.no_pairs}, "
            f"the first is {invalid[0].origin}: {invalid[0].reason}"
        )
    if not result.pairs:
        reasons = "; ".join(f"{count:,} x {reason}" for reason, count in result.no_pair_by_reason.items())
        raise UserError(f"{files.name}: not one pair came of {total:,} records ({reasons})")
