"""Keys of `redone pipeline`."""

import re
from dataclasses import dataclass, replace

from megatron_redone.config.field import key
from megatron_redone.errors import UserError

_FILE_NAME = re.compile(r"[\w][\w.-]*")


@dataclass(frozen=True, kw_only=True)
class PipelineEntry:
    """One stage of the pipeline."""

    name: str = key("what it is called in the plan, and its files in logs/ and pipeline/")
    stage: str = key("which stage, as in `redone STAGE`")
    config: str | None = key("its YAML file, seen from config_dir; null where overrides say everything", None)
    overrides: list[str] = key("key=value, over the keys of the file", [])
    processes: int = key("processes of this machine that torchrun starts; 1 starts none but the stage", 1, at_least=1)
    launcher: str | None = key(
        "another command that `STAGE --config FILE key=value ...` is appended to, such as "
        "`torchrun --nproc-per-node 8 -m megatron_redone`; {config_dir} stands for that folder",
        None,
    )
    minutes: float | None = key(
        "how long it takes, roughly: for the time left, until that has been measured", None, above=0
    )

    def __post_init__(self) -> None:
        if not _FILE_NAME.fullmatch(self.name):
            raise UserError(f"name: '{self.name}' cannot name a file; use letters, digits, '.', '_' and '-'")
        if self.launcher is not None and self.processes != 1:
            raise UserError("processes: the launcher says how many; leave one of the two out")
        if self.launcher is not None and not self.launcher.strip():
            raise UserError("launcher: is empty; leave it null")


@dataclass(frozen=True, kw_only=True)
class PipelineConfig:
    """Stages that follow each other, each run where its settings or what it reads have changed."""

    stages: list[PipelineEntry] = key("the stages, in their order")
    overrides: list[str] = key("STAGE.key=value, over the keys of the stage of that name", [])
    work_dir: str = key("folder that the stages run in: paths in their files are seen from there", ".")
    config_dir: str = key("folder of the stages' YAML files; that of --config where there is one", ".")
    from_stage: str | None = key("begin with the stage of this name; those before it stay as they are (--from)", None)
    until_stage: str | None = key("end with the stage of this name (--until)", None)
    keep_replaced: bool = key(
        "training runs that begin anew for other settings or data leave the old folder as OUTPUT.replaced-N; "
        "false removes it",
        True,
    )

    def __post_init__(self) -> None:
        names = [entry.name for entry in self.stages]
        if not names:
            raise UserError("stages: the list is empty; name at least one")
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UserError(f"stages: two are called '{twice}'; give each a name of its own")
        for text in self.overrides:
            if _name_in(text, names) is None:
                raise UserError(f"overrides: '{text}' names no stage; write STAGE.key=value, with {', '.join(names)}")
        for where in ("from_stage", "until_stage"):
            wanted = getattr(self, where)
            if wanted is not None and wanted not in names:
                raise UserError(f"{where}: no stage is called '{wanted}'; there are {', '.join(names)}")
        if self.chosen().start >= self.chosen().stop:
            raise UserError(f"until_stage: '{self.until_stage}' comes before from_stage, '{self.from_stage}'")

    def entry(self, number: int) -> PipelineEntry:
        """A stage, by its place from 0, with the overrides that name it."""
        entry, names = self.stages[number], [entry.name for entry in self.stages]
        own = [text.removeprefix(f"{entry.name}.") for text in self.overrides if _name_in(text, names) == entry.name]
        return replace(entry, overrides=[*entry.overrides, *own])

    def chosen(self) -> range:
        """The numbers of the stages from `from_stage` until `until_stage`."""
        names = [entry.name for entry in self.stages]
        first = names.index(self.from_stage) if self.from_stage is not None else 0
        last = names.index(self.until_stage) if self.until_stage is not None else len(names) - 1
        return range(first, last + 1)


def _name_in(override: str, names: list[str]) -> str | None:
    """The stage that an override is for: names may hold dots, so that the longest counts."""
    key_path = override.partition("=")[0]
    return max((name for name in names if key_path.startswith(f"{name}.")), key=len, default=None)
