"""A folder that is there whole or not at all."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from megatron_redone.errors import UserError


@contextmanager
def whole_folder(output: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Gives an empty folder beside `output` to write to, and renames it to `output` at the end.

    On any error or interrupt what was written is removed. What a killed process left is removed by the next.

    Args:
        output: Where the folder is to appear.
        overwrite: Replace what is there.

    Raises:
        UserError: something is there already, the place cannot be written to, or the disk is full.
    """
    if not overwrite and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"output: {output} exists; choose another, or set overwrite=true to replace it")
    partial = output.with_name(output.name + ".partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        _flush(partial)
        _replace(output, partial)
    except OSError as error:
        raise UserError(f"output: {output} could not be written ({_reason(error)}); nothing was left there") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _replace(output: Path, partial: Path) -> None:
    old = output.with_name(output.name + ".removed")
    shutil.rmtree(old, ignore_errors=True)
    if output.exists():
        os.replace(output, old)
    os.replace(partial, output)
    shutil.rmtree(old, ignore_errors=True)


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _reason(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "no space is left on the disk"
    return error.strerror or str(error)
