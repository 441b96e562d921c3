"""The files of a curation: complete only where every one is as it was written."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("datatrove")

from megatron_redone.config.curate import CurateConfig, Deduplicate, HeldOutConfig, OutputForm, SourceConfig
from megatron_redone.curation.counting import Amount, Flow, write_flow
from megatron_redone.curation.outputs import Finish, finished_curation, remove_curation
from megatron_redone.curation.passes import funnel_steps
from megatron_redone.errors import UserError
from megatron_redone.formats.done_check import is_complete

TEXTS = [["one", "two"], [], ["three"]]  # of each task
DROPPED = "no"


def line(text: str, **more: Any) -> str:
    return json.dumps({"text": text, **more}) + "\n"


def finish(folder: Path, form: str = "file", is_moved: bool = False) -> Path:
    """What three tasks left of three documents, and of one that `read` dropped; `is_moved`: but for the documents."""
    config = CurateConfig(
        sources=[SourceConfig(name="posts", input=["x.jsonl"])],
        output_dir=str(folder / "out"),
        output=OutputForm[form],
        deduplicate=Deduplicate.none,
        held_out=HeldOutConfig(fraction=0),
    )
    work = folder / "work"
    for number, texts in enumerate(TEXTS):
        left = Amount(len(texts), 0, sum(map(len, texts)))
        for step in funnel_steps(config):
            entered = Amount(4, 0, 10) if (step, number) == ("read", 0) else left
            entered = Amount(3, 0, 8) if (step, number) == ("read", 0) else entered
            write_flow(work / "counts" / step, number, {"posts": Flow(entered, left)})
        path = work / f"final/posts/{number:05d}.jsonl{'.gz' if form == 'shards' else ''}"
        if is_moved:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        content = "".join(map(line, texts)).encode()
        path.write_bytes(gzip.compress(content) if form == "shards" else content)
    (work / "dropped/read/posts").mkdir(parents=True, exist_ok=True)
    (work / "dropped/read/posts/00000.jsonl").write_text(line(DROPPED, reason="why"))
    Finish(config, [], "hash", work).run()
    return folder / "out"


def test_parts_are_joined_in_order_and_counted(tmp_path: Path) -> None:
    out = finish(tmp_path)
    assert (out / "posts.jsonl").read_text() == "".join(line(text) for part in TEXTS for text in part)
    assert (out / "dropped/read/posts.jsonl").read_text() == line(DROPPED, reason="why")
    [file] = json.loads((out / "manifest.json").read_text())["outputs"]
    assert (file["path"], file["documents"], file["held_out"]) == ("posts.jsonl", 3, False)


def test_shards_are_moved_and_counted(tmp_path: Path) -> None:
    out = finish(tmp_path, "shards")
    files = json.loads((out / "manifest.json").read_text())["outputs"]
    assert [(file["path"], file["documents"]) for file in files] == [
        (f"posts/0000{number}.jsonl.gz", len(texts)) for number, texts in enumerate(TEXTS)
    ]
    assert gzip.decompress((out / files[2]["path"]).read_bytes()).decode() == line("three")


def test_shards_of_another_run_go_and_a_second_pass_finds_its_own(tmp_path: Path) -> None:
    for number in (1, 5):
        (tmp_path / "out/posts").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"out/posts/0000{number}.jsonl.gz").write_bytes(gzip.compress(line("stale").encode()))
    first = (finish(tmp_path, "shards") / "manifest.json").read_bytes()
    (tmp_path / "out/manifest.json").unlink()  # as if killed before it was written
    assert (finish(tmp_path, "shards", is_moved=True) / "manifest.json").read_bytes() == first
    assert len(list((tmp_path / "out/posts").iterdir())) == len(TEXTS)


def test_what_lies_among_shards_and_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "out/posts").mkdir(parents=True)
    (tmp_path / "out/posts/notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"notes\.txt is no shard of a result"):
        finish(tmp_path, "shards")
    assert (tmp_path / "out/posts/notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["posts.jsonl", "dropped/read/posts.jsonl", "funnel.json", "funnel.txt"])
def test_it_is_complete_as_long_as_every_file_is_as_it_was_written(tmp_path: Path, name: str) -> None:
    out = finish(tmp_path)
    assert is_complete(finished_curation(out), "hash", overwrite=False, place="out")
    with pytest.raises(UserError, match="made from other input or settings"):
        is_complete(finished_curation(out), "other", overwrite=False, place="out")
    (out / name).write_bytes((out / name).read_bytes()[:-1] + b" ")
    assert not is_complete(finished_curation(out), "hash", overwrite=False, place="out")


def test_documents_that_were_lost_on_the_way_stop_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter(sorted(_without_last(self, pattern))))
    with pytest.raises(UserError, match=r"3 documents of source 'posts' should have been written, 2 are there"):
        finish(tmp_path)
    assert finished_curation(tmp_path / "out") is None


_GLOB = Path.glob


def _without_last(folder: Path, pattern: str) -> list[Path]:
    found = sorted(_GLOB(folder, pattern))
    return found[:-1] if folder.parts[-2:] == ("final", "posts") else found


def test_what_is_replaced_goes_but_nothing_of_others(tmp_path: Path) -> None:
    out = finish(tmp_path)
    (out / "mine.txt").write_text("x")
    remove_curation(out, finished_curation(out))
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    remove_curation(out, None)


def test_a_manifest_that_names_files_outside_removes_nothing(tmp_path: Path) -> None:
    out = finish(tmp_path)
    manifest = out / "manifest.json"
    content = json.loads(manifest.read_text())
    content["outputs"][0]["path"] = "../mine.txt"
    content.pop("seal")
    manifest.write_text(json.dumps(content))
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(UserError, match="lies outside; remove the folder yourself"):
        remove_curation(out, finished_curation(out))
    assert (tmp_path / "mine.txt").exists() and manifest.exists()
