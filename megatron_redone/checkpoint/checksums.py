"""run/checksums.json: what every other file of a checkpoint must be.

Of the files with tensors a block is a record, so that whoever reads a part checks what it reads and nothing else.
"""

import logging
from pathlib import Path

from megatron_redone.checkpoint.record import has_checksums
from megatron_redone.formats.folder_checksums import (
    FileBlocks,
    FolderChecksums,
    read_folder_checksums,
    write_folder_checksums,
)

log = logging.getLogger(__name__)

_FILE = Path("run", "checksums.json")
_REMEDY = "take another checkpoint"


def write_checksums(checkpoint: Path, known: FileBlocks) -> None:
    """Writes the checksums of every file that is there; nothing may be added to the checkpoint after it.

    Args:
        checkpoint: The folder that is being written.
        known: Of files whose checksums were taken while they were written; the others, which are small, are read.

    Raises:
        OSError: it could not be written, or a file of which checksums are known is gone or has another size.
    """
    write_folder_checksums(checkpoint, _FILE, known)


def read_checksums(checkpoint: Path) -> FolderChecksums:
    """The checksums of a checkpoint; none where an earlier version or another program has written it.

    Raises:
        DamageError: they are damaged, or missing although there were some.
    """
    if not (checkpoint / _FILE).exists() and not has_checksums(checkpoint):
        log.info("%s: has no checksums, as an earlier version or another program wrote it", checkpoint)
        return FolderChecksums(checkpoint, {}, _REMEDY)
    return read_folder_checksums(checkpoint, _FILE, _REMEDY)
