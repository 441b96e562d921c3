"""WORK/pipeline/NAME.json: what a stage of a pipeline was made from, and whether it came to its end."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from megatron_redone.formats.atomic import write_json

_FORMAT = "megatron_redone.pipeline_stage/1"


@dataclass(frozen=True, kw_only=True)
class Marker:
    """One stage, as it was last begun.

    Attributes:
        work: Hash of all that decides what comes out.
        settings: Its configuration by dotted keys, without those that change nothing of what comes out.
        reads: Fingerprints of the files that no earlier stage has made.
        follows: The `work` of the earlier stages whose outputs it reads.
        writes: Its folders and prefixes.
        files: Bytes and time of the last change of every file of them, as it left them at its end.
        done: Whether it has come to its end.
        seconds: How long that took.
    """

    work: str
    settings: dict[str, Any] = field(default_factory=dict)
    reads: dict[str, str] = field(default_factory=dict)
    follows: dict[str, str] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)
    files: dict[str, list[int]] = field(default_factory=dict)
    done: bool = False
    seconds: float | None = None


def marker_path(work_dir: Path, name: str) -> Path:
    """Where the marker of a stage lies."""
    return work_dir / "pipeline" / f"{name}.json"


def read_marker(work_dir: Path, name: str) -> Marker | None:
    """The marker, or None where the stage was never begun or the marker is of another version."""
    path = marker_path(work_dir, name)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(content, dict) or content.pop("format", None) != _FORMAT:
        return None
    return Marker(**content)


def write_marker(work_dir: Path, name: str, marker: Marker) -> None:
    """Puts it down whole."""
    write_json(marker_path(work_dir, name), {"format": _FORMAT, **dataclasses.asdict(marker)})
