"""A file or folder appears whole or not at all, and two writers do not undo each other's work."""

import errno
from pathlib import Path

import pytest

from megatron_redone.errors import UserError
from megatron_redone.formats.atomic import atomic_file, atomic_folder, commit_folder, write_json, writing_errors


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("mode", "content"), [("w", "é\n"), ("wb", b"\xff\x00")])
def test_a_file_appears_at_the_end_alone(tmp_path: Path, mode: str, content: str | bytes) -> None:
    path = tmp_path / "file"
    with atomic_file(path, mode) as stream:
        stream.write(content)
        assert names(tmp_path) == ["file.partial"]
    assert (path.read_text("utf-8") if mode == "w" else path.read_bytes()) == content
    with pytest.raises(KeyError), atomic_file(path, mode) as stream:
        stream.write(content)
        raise KeyError
    assert names(tmp_path) == ["file"] and path.stat().st_size == len(content.encode() if mode == "w" else content)


def test_what_json_cannot_hold_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert (tmp_path / "a.json").read_text() == '{\n  "a": 1\n}\n' and names(tmp_path) == ["a.json"]


def test_a_folder_appears_at_the_end_alone(tmp_path: Path) -> None:
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "left").touch()  # by a process that was killed
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("1")
        assert not (tmp_path / "out").exists()
    assert names(tmp_path) == ["out"] and names(tmp_path / "out") == ["a"]
    with pytest.raises(KeyError), atomic_folder(tmp_path / "out", overwrite=True) as folder:
        raise KeyError
    assert names(tmp_path) == ["out"] and names(tmp_path / "out") == ["a"]


def test_a_folder_that_is_there_is_replaced_on_demand_only(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    with pytest.raises(UserError, match="exists"), atomic_folder(tmp_path / "out"):
        pass
    with atomic_folder(tmp_path / "out", overwrite=True) as folder:
        (folder / "new").touch()
    assert names(tmp_path) == ["out"] and names(tmp_path / "out") == ["new"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_second_writer_is_refused_and_the_first_keeps_its_work(tmp_path: Path, overwrite: bool) -> None:
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "first").touch()
        refused = pytest.raises(UserError, match="another run is writing there")
        with refused, atomic_folder(tmp_path / "out", overwrite=overwrite):
            raise AssertionError
        (folder / "last").touch()
    assert names(tmp_path) == ["out"] and names(tmp_path / "out") == ["first", "last"]


def test_committing_replaces_what_is_there(tmp_path: Path) -> None:
    for name in ("new.partial", "new", "new.removed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "name").write_text(name)
    commit_folder(tmp_path / "new.partial", tmp_path / "new")
    assert names(tmp_path) == ["new"] and (tmp_path / "new/name").read_text() == "new.partial"


def test_a_full_disk_is_one_line() -> None:
    told = pytest.raises(UserError, match=r"data/a: could not be written .no space is left on the disk")
    with told, writing_errors("data/a"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(FileNotFoundError), writing_errors("data/a"):
        raise FileNotFoundError(errno.ENOENT, "not a matter of writing")
