"""What each stage reads and writes, by the keys of its configuration; and what tells that a file has changed."""

import dataclasses
import glob
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_TAKE_HUB_NAMES = ("init_from", "reference", "hf")


@dataclass(frozen=True)
class StageFiles:
    """The keys that name files.

    Attributes:
        reads: Dotted keys; `[]` stands for every element of a list.
        writes: The same of what the stage leaves. An ending after `+` is added to the value; of several with `|`
            between them the first that is given counts.
        resumes: Whether the stage goes on from what lies in its output, whatever the settings were
            that it was begun with; such an output is cleared away where they have changed.
    """

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    resumes: bool = False


_TRAINING_READS = ("init_from", "model.hf_config", "tokenizer", "data.blend[].path", "data.validation[].path")
_TRAINING_WRITES = ("output_dir", "checkpoint.save_dir")
_CHAT = StageFiles(("sources[].input[]", "tokenizer.path", "chat_template"), ("output_dir",))
_PREFERENCE_SOURCES = tuple(f"{kind}[].source.input[]" for kind in ("annotated", "judged", "objective", "structural"))

STAGE_FILES = {
    "curate": StageFiles(("sources[].input[]", "tokenizer.path"), ("output_dir",)),
    "tokenize": StageFiles(("input[]", "tokenizer.path"), ("output_prefix",)),
    "prepare-sft": _CHAT,
    "prepare-preferences": _CHAT,
    "build-preferences": StageFiles(
        (
            *_PREFERENCE_SOURCES,
            "judged[].scores[]",
            "judged[].human_scores[]",
            "objective[].candidates[]",
            "objective[].policy.path",
            "objective[].policy.chat_template",
        ),
        ("output_dir",),
    ),
    "pretrain": StageFiles(_TRAINING_READS, _TRAINING_WRITES, resumes=True),
    "sft": StageFiles(_TRAINING_READS, _TRAINING_WRITES, resumes=True),
    "score-reference": StageFiles(
        ("init_from", "model.hf_config", "tokenizer", "data[].path"), ("output_dir|data[].path+.reference",)
    ),
    "dpo": StageFiles((*_TRAINING_READS, "reference", "reference_dir"), _TRAINING_WRITES, resumes=True),
    "import-hf": StageFiles(("hf",), ("output",)),
    "export-hf": StageFiles(("checkpoint", "hf_config"), ("output",)),
    "verify": StageFiles(("hf", "checkpoint", "text"), ()),
    "evaluate": StageFiles(
        ("models[].path", "models[].chat_template", "held_out[].path", "preferences[].path", "conversations[].path"),
        ("output",),
    ),
    "report": StageFiles(("runs[]", "funnel", "evaluation"), ("output",)),
}


@dataclass(frozen=True)
class Read:
    """Something that a stage reads.

    Attributes:
        path: A file, a folder, a dataset's prefix, a glob or a URL.
        or_hub: Whether it may as well be a name on the Hugging Face hub.
    """

    path: str
    or_hub: bool = False

    def is_elsewhere(self, work_dir: Path) -> bool:
        """Whether it is none of this machine's files; its name is then all that is looked at."""
        # A hub name looks like a relative path; it is one where its folder is there.
        on_hub = self.or_hub and _HUB_NAME.fullmatch(self.path) and not (work_dir / self.path).parent.exists()
        return "://" in self.path or bool(on_hub)

    def is_there(self, work_dir: Path) -> bool:
        """Whether it exists, or a file whose path begins with it."""
        return bool(_paths(work_dir, self.path))

    def fingerprint(self, work_dir: Path, written: Sequence[str]) -> str:
        """Sixteen hexadecimal digits that change when a file is added, removed or changed (its size or time).

        Args:
            work_dir: What relative paths are seen from.
            written: What stages write; it may lie beside what they read, and does not count.
        """
        outputs = [_absolute(work_dir, path) for path in written]
        stats = [
            (os.path.relpath(file, work_dir), size, time)
            for file, size, time in _stats(work_dir, self.path)
            if not any(_holds(output, os.path.normpath(file)) for output in outputs)
        ]
        return hashlib.sha256(json.dumps(stats).encode()).hexdigest()[:16]


def files_read(stage: str, config: Any) -> list[Read]:
    """What a stage's configuration says it reads, each once."""
    found = [Read(path, name in _TAKE_HUB_NAMES) for name in STAGE_FILES[stage].reads for path in _values(config, name)]
    return list(dict.fromkeys(found))


def files_written(stage: str, config: Any) -> list[str]:
    """The folders and prefixes that it leaves."""
    return list(dict.fromkeys(path for name in STAGE_FILES[stage].writes for path in _values(config, name)))


def touch(work_dir: Path, read: str, written: str) -> bool:
    """Whether what is read may be, hold or be part of what is written: the same path, a folder, a dataset's prefix."""
    if "://" in read or "://" in written:
        return read == written
    one, other = _absolute(work_dir, _fixed_part(read)), _absolute(work_dir, written)
    return _holds(one, other) or _holds(other, one)


def _values(config: Any, name: str) -> list[str]:
    for alternative in name.split("|"):
        dotted, _, ending = alternative.partition("+")
        values = [f"{value}{ending}" for value in _walk(dataclasses.asdict(config), dotted.split("."))]
        if values:
            return values
    return []


def _walk(node: Any, names: Sequence[str]) -> Iterator[str]:
    if node is None:
        return
    if not names:
        yield node
        return
    name = names[0].removesuffix("[]")
    elements = (node[name] or []) if names[0].endswith("[]") else [node[name]]
    for element in elements:
        yield from _walk(element, names[1:])


def _holds(outer: str, inner: str) -> bool:
    """Whether a path is another, lies in it, or is a file of the dataset with that prefix."""
    return inner == outer or inner.startswith((outer + os.sep, outer + "."))


def _absolute(work_dir: Path, path: str) -> str:
    return os.path.normpath(os.path.join(work_dir, path))


def _fixed_part(path: str) -> str:
    """A path up to its first folder or name with a wildcard."""
    parts = path.split(os.sep)
    magic = next((number for number, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return os.sep.join(parts[:magic])


def _paths(work_dir: Path, name: str) -> list[Path]:
    path = work_dir / name
    if path.exists():
        return [path]
    pattern = str(path) if glob.has_magic(name) else f"{glob.escape(str(path))}.*"
    return [Path(found) for found in sorted(glob.glob(pattern, recursive=True))]


def _stats(work_dir: Path, name: str) -> Iterator[tuple[str, int, int]]:
    for path in _paths(work_dir, name):
        for file in _files(path):
            stat = os.stat(file)
            yield file, stat.st_size, stat.st_mtime_ns


def _files(path: Path) -> Iterator[str]:
    if not path.is_dir():
        yield str(path)
        return
    for folder, folders, names in os.walk(path, followlinks=True):
        folders.sort()
        yield from (os.path.join(folder, name) for name in sorted(names))
