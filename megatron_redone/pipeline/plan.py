"""What a pipeline would do: which stages are stale, and why.

A stage's `work` is a hash over its settings, the fingerprints of the files that it reads, and the `work`
of the earlier stages whose outputs it reads. It is known before anything runs.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_redone.config.loader import flat, load_config
from megatron_redone.config.pipeline import PipelineConfig, PipelineEntry
from megatron_redone.config.schema import FileRead, deciding_values, files_read, files_written, work_hash
from megatron_redone.config.stage_table import STAGES
from megatron_redone.errors import UserError
from megatron_redone.pipeline.markers import Marker, read_marker
from megatron_redone.pipeline.stage_files import changed_files, fingerprint, is_elsewhere, is_there, touch

_SHOWN = 60  # characters of a value


@dataclass(frozen=True, kw_only=True)
class PlannedStage:
    """One stage, and what is to become of it.

    Attributes:
        number: From 1.
        file: Its YAML file.
        marker: What is put down when it is begun.
        before: What was put down when it was begun last; None where it never was.
        chosen: Whether it lies between `from_stage` and `until_stage`.
        reasons: Why it is to run; empty where it is up to date.
        missing: What it reads that is not there and that no earlier stage makes.
    """

    number: int
    entry: PipelineEntry
    file: Path | None
    marker: Marker
    before: Marker | None
    chosen: bool
    reasons: list[str]
    missing: list[str]

    @property
    def is_due(self) -> bool:
        """Whether it is to run."""
        return self.chosen and bool(self.reasons)

    @property
    def goes_on(self) -> bool:
        """Whether what lies in its output is its own, made from the same."""
        return self.before is not None and self.before.work == self.marker.work


@dataclass(frozen=True, kw_only=True)
class _Configured:
    entry: PipelineEntry
    file: Path | None
    settings: Any
    reads: list[FileRead]
    writes: list[str]


def make_plan(config: PipelineConfig) -> list[PlannedStage]:
    """Looks at every stage in turn.

    Raises:
        UserError: a stage's configuration is wrong, or a stage before `from_stage` has never finished.
    """
    stages = [_configured(config, number) for number in range(len(config.stages))]
    outputs = [path for stage in stages for path in stage.writes]
    plan: list[PlannedStage] = []
    for stage in stages:
        plan.append(_planned(config, stage, plan, outputs))
    return plan


def _configured(config: PipelineConfig, number: int) -> _Configured:
    """An entry with its settings, which are checked."""
    entry = config.entry(number)
    known = [name for name, stage in STAGES.items() if stage.of_pipeline]
    if entry.stage not in known:
        raise UserError(
            f"stages[{number}].stage: '{entry.stage}' is no stage of a pipeline; there are {', '.join(known)}"
        )
    file = None if entry.config is None else Path(config.config_dir, entry.config)
    try:
        settings = load_config(STAGES[entry.stage].config_class(), None if file is None else str(file), entry.overrides)
    except UserError as error:
        where = "" if file is None or str(file) in str(error) else f"{file}: "
        raise UserError(f"stage '{entry.name}': {where}{error}") from None
    return _Configured(
        entry=entry,
        file=file,
        settings=settings,
        reads=files_read(settings),
        writes=files_written(settings),
    )


def _planned(
    config: PipelineConfig, stage: _Configured, earlier: Sequence[PlannedStage], outputs: Sequence[str]
) -> PlannedStage:
    work_dir, number = Path(config.work_dir).absolute(), len(earlier)
    sources = {read: [e for e in earlier if _feeds(work_dir, e, read)] for read in stage.reads}
    outside = [read for read, makers in sources.items() if not makers and not is_elsewhere(work_dir, read)]
    marker = _marker(
        stage,
        reads={read.path: fingerprint(work_dir, read.path, outputs) for read in outside},
        follows={maker.entry.name: _work(maker) for makers in sources.values() for maker in makers},
    )
    before = read_marker(work_dir, stage.entry.name)
    if number < config.chosen().start and (before is None or not before.done):
        raise UserError(f"from_stage: '{stage.entry.name}', which comes before it, was never finished; begin there")
    return PlannedStage(
        number=number + 1,
        entry=stage.entry,
        file=stage.file,
        marker=marker,
        before=before,
        chosen=number in config.chosen(),
        reasons=_reasons(work_dir, before, marker),
        missing=[read.path for read in outside if not is_there(work_dir, read.path)],
    )


def _feeds(work_dir: Path, earlier: PlannedStage, read: FileRead) -> bool:
    return any(touch(work_dir, read.path, path) for path in earlier.marker.writes)


def _work(earlier: PlannedStage) -> str:
    """Of an earlier stage's outputs: as they are where it is left alone, as they will be where it is not."""
    if not earlier.chosen and earlier.before is not None:
        return earlier.before.work
    return earlier.marker.work


def _marker(stage: _Configured, reads: dict[str, str], follows: dict[str, str]) -> Marker:
    return Marker(
        work=work_hash(stage.settings, stage.entry.stage, reads, follows, stage.writes),
        settings=flat(deciding_values(stage.settings)),
        reads=reads,
        follows=follows,
        writes=stage.writes,
    )


def _reasons(work_dir: Path, before: Marker | None, now: Marker) -> list[str]:
    if before is None:
        return ["not run yet"]
    if before.work != now.work:
        return _changes(before, now)
    if not before.done:
        return ["was interrupted, goes on"]
    absent = [f"{path} is not there" for path in now.writes if not is_there(work_dir, path)]
    return absent or changed_files(work_dir, before.files)


def _changes(before: Marker, now: Marker) -> list[str]:
    keys = sorted(before.settings.keys() | now.settings.keys())
    settings = [
        f"{key} {_shown(before.settings.get(key))} -> {_shown(now.settings.get(key))}"
        for key in keys
        if before.settings.get(key) != now.settings.get(key)
    ]
    files = [f"{path} has changed" for path, print in now.reads.items() if before.reads.get(path, print) != print]
    places = [f"writes {path}" for path in now.writes if path not in before.writes]
    earlier = [f"'{name}' is new" for name, work in now.follows.items() if before.follows.get(name) != work]
    return [*settings, *places, *files, *earlier] or ["it reads other files"]


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def missing_inputs(plan: Sequence[PlannedStage]) -> list[str]:
    """What the stages that are to run lack, one line for each path."""
    readers: dict[str, list[str]] = {}
    for stage in plan:
        for path in stage.missing if stage.is_due else []:
            readers.setdefault(path, []).append(stage.entry.name)
    return [f"{path} is not there, which is read by {', '.join(names)}" for path, names in readers.items()]
