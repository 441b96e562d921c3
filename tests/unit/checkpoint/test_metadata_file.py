"""torch's own metadata is read as torch reads it; a pickle that calls something is not run."""

import enum
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.filesystem import FileSystemReader

from megatron_redone.checkpoint.metadata_file import read_metadata
from megatron_redone.errors import UserError


@pytest.mark.filterwarnings("ignore")
def test_it_is_what_torch_reads(tmp_path: Path) -> None:
    state = {"a": torch.ones(3, 2), "b": torch.zeros(4, dtype=torch.bfloat16), "c": {"d": [1, "x"]}}
    dcp.save(state, checkpoint_id=tmp_path, no_dist=True)
    ours, theirs = read_metadata(tmp_path), FileSystemReader(tmp_path).read_metadata()
    assert ours.state_dict_metadata == theirs.state_dict_metadata
    assert ours.storage_data == theirs.storage_data and len(ours.state_dict_metadata) >= 3


class Call:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_code_in_it_does_not_run(tmp_path: Path, protocol: int) -> None:
    (tmp_path / ".metadata").write_bytes(pickle.dumps(Call(os.mkdir, str(tmp_path / "ran")), protocol))
    with pytest.raises(UserError, match="which no checkpoint needs"):
        read_metadata(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_members_of_enumerations_as_python_3_11_0_to_3_pickles_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.distributed.checkpoint.metadata import _MEM_FORMAT_ENCODING

    def by_name(self: enum.Enum, _: int) -> Any:
        return getattr, (type(self), self.name)

    dcp.save({"a": torch.ones(3, 2)}, checkpoint_id=tmp_path, no_dist=True)
    theirs = FileSystemReader(tmp_path).read_metadata()
    with monkeypatch.context() as older:
        older.setattr(_MEM_FORMAT_ENCODING, "__reduce_ex__", by_name)
        pickled = pickle.dumps(theirs)
    assert b"getattr" in pickled
    (tmp_path / ".metadata").write_bytes(pickled)
    assert read_metadata(tmp_path).state_dict_metadata == theirs.state_dict_metadata


def test_getattr_of_anything_else_is_refused(tmp_path: Path) -> None:
    from torch.distributed.checkpoint.metadata import Metadata

    for of in (Metadata, torch.float32):
        (tmp_path / ".metadata").write_bytes(pickle.dumps(Call(getattr, of, "__class__")))
        with pytest.raises(UserError, match="which no checkpoint needs"):
            read_metadata(tmp_path)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("torch.distributed.checkpoint.metadata", "os.mkdir"),  # which the module imports
        ("torch.distributed.checkpoint.metadata", "os"),
        ("torch.distributed.checkpoint.metadata", "os.PathLike"),
        ("torch.distributed.checkpoint.metadata", "dataclass"),
        ("torch", "load"),
        ("builtins", "eval"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, module: str, name: str) -> None:
    # Since protocol 4 a dotted name leads from an object to what it has.
    words = b"".join(b"\x8c" + bytes([len(word)]) + word.encode() for word in (module, name))
    (tmp_path / ".metadata").write_bytes(b"\x80\x04" + words + b"\x93.")
    with pytest.raises(UserError, match="which no checkpoint needs"):
        read_metadata(tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"\x80\x04", pickle.dumps({"a": 1}), pickle.dumps(None)])
def test_what_is_none_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / ".metadata").write_bytes(content)
    with pytest.raises(UserError, match="not a distributed checkpoint"):
        read_metadata(tmp_path)
