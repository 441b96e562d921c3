"""Is the work done already? The one check of every stage that writes files and says when they are complete.

A stage writes its files first and last a manifest, which holds the hash of everything that decided them
(`config.schema.work_hash`) and the record of each file. The same command again does nothing where that
hash is the same and every file is as it was written; where one is missing or damaged, it does the work again.
"""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_redone.errors import UserError
from megatron_redone.formats.atomic import write_json
from megatron_redone.formats.file_record import damage
from megatron_redone.hashing import short_hash

log = logging.getLogger(__name__)

_SEAL = "seal"
_SHOWN = 3


@dataclass(frozen=True)
class Finished:
    """What a manifest says of work that was done.

    Attributes:
        work: Hash of everything that decided the result.
        files: The record of each file (`FileRecord`), as JSON holds it.
        manifest: The file that says so.
        is_intact: Whether the manifest itself is as it was written.
    """

    work: str | None
    files: Mapping[Path, Mapping[str, Any]]
    manifest: Path
    is_intact: bool = True


def is_complete(finished: Finished | None, work: str, *, overwrite: bool, place: str, key: str = "output_dir") -> bool:
    """Whether the result is there already, whole and made from the same things.

    Logs that there is nothing to do, or what is missing or damaged. With `overwrite` the answer is always no.

    Args:
        finished: What was done, or None for nothing.
        work: Hash of everything that decides the result now.
        overwrite: Whether what is there may be replaced, whatever it is.
        place: What is written, for the messages.
        key: The configuration's key that names the place.

    Raises:
        UserError: what is there was made from something else, and must not be replaced.
    """
    if finished is None or overwrite:
        return False
    if finished.work != work:
        state = "made from other input or settings" if finished.is_intact else "damaged"
        raise UserError(
            f"{place}: what is there is {state} ({finished.manifest}); choose another {key}, or set overwrite=true"
        )
    problems = damage(finished.files)
    if not finished.is_intact:
        problems.insert(0, f"{finished.manifest} is damaged")
    if problems:
        more = f", and {len(problems) - _SHOWN:,} more" if len(problems) > _SHOWN else ""
        log.warning("%s: %s%s; the work is done again", place, "; ".join(problems[:_SHOWN]), more)
        return False
    log.info("%s: complete already, nothing to do", place)
    return True


def read_finished(
    manifest: Path, records_of: Callable[[Mapping[str, Any]], Mapping[str, Any]], format_name: str | None = None
) -> Finished | None:
    """What a manifest says of work that was done, or None where there is none.

    Args:
        manifest: Of `write_sealed`, beside the files that it names.
        records_of: From its content to the record of each file, by paths from the manifest's folder.
        format_name: Its `format`; one of another format counts as damaged. None asks for none.
    """
    if not manifest.exists():
        return None
    content, is_intact = read_sealed(manifest)
    if content is None or not is_intact or format_name not in (None, content.get("format")):
        return Finished((content or {}).get("work"), {}, manifest, is_intact=False)
    files = {manifest.parent / name: record for name, record in records_of(content).items()}
    return Finished(content.get("work"), files, manifest)


def remove_finished(
    finished: Finished | None, folder: Path, is_kept: Callable[[Path, Mapping[str, Any]], bool] = lambda *_: False
) -> None:
    """Removes the files of a result that is being replaced, if there is one, its manifest first, and nothing else.

    Args:
        finished: Of `read_finished`.
        folder: In which all of them lie.
        is_kept: Whether a file, with its record, is of use for the result that comes.

    Raises:
        UserError: the manifest lists a file outside the folder.
    """
    if finished is None:
        return
    for file in finished.files:
        if not file.parent.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{finished.manifest}: lists {file}, which lies outside; remove the folder yourself")
    kept = {file for file, record in finished.files.items() if is_kept(file, record)}
    finished.manifest.unlink(missing_ok=True)
    for file in finished.files.keys() - kept:
        file.unlink(missing_ok=True)


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a manifest as JSON, with a checksum of its own content."""
    write_json(path, {**content, _SEAL: _seal_of(content)})


def read_sealed(path: Path) -> tuple[dict[str, Any] | None, bool]:
    """The content of a manifest, None where it is no JSON object, and whether it is as it was written.

    One without a checksum, of an earlier version, is taken as it is.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None, False
    if not isinstance(content, dict):
        return None, False
    return content, is_sealed(content)


def is_sealed(content: Mapping[str, Any]) -> bool:
    """Whether a manifest's content fits its checksum; true where it has none."""
    return content.get(_SEAL) in (None, _seal_of(content))


def _seal_of(content: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps(content))
    plain.pop(_SEAL, None)
    return short_hash(plain)
