"""One process at a time, also after one that was killed."""

import subprocess
import sys
from pathlib import Path

import pytest

from megatron_redone.errors import UserError
from megatron_redone.formats.lock import folder_lock

_HOLD = """
import sys, pathlib
from megatron_redone.formats.lock import folder_lock
with folder_lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_process_is_refused_until_the_holder_ends_or_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with pytest.raises(UserError, match="another run is writing there"), folder_lock(folder):
        raise AssertionError
    holder.kill()
    holder.wait()
    with folder_lock(folder):
        assert [path.name for path in folder.iterdir()] == [".lock"]
    assert list(folder.iterdir()) == []


def test_a_place_that_cannot_be_written_to_is_told_with_its_key(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = pytest.raises(UserError, match=r"some_dir: .* cannot be written to")
    with told, folder_lock(tmp_path / "file" / "out", "some_dir"):
        raise AssertionError
