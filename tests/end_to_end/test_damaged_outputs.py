"""Complete is what is whole: an output that is gone, cut or flipped is made again by the same command, or named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import chat_tokenizers, commands, hf_folders, small_tokenizer

ANNOTATORS = ["ann", "bo", "cy"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    return chat_tokenizers.write(folder / "mistral", small_tokenizer.train(folder / "small"), "mistral")


def write_lines(path: Path, records: list[Any]) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records))
    return path


def tokenize(folder: Path, tokenizer: Path) -> list[str]:
    posts = write_lines(folder / "posts.jsonl", [{"text": f"post {i} of some words"} for i in range(40)] + ["{"])
    keys = [f"input={posts}", f"output_prefix={folder}/out/posts", "max_invalid=0.1", "shuffle=true", "workers=1"]
    return ["tokenize", *keys, f"tokenizer.path={tokenizer}"]


def prepare_sft(folder: Path, tokenizer: Path) -> list[str]:
    turns = [{"role": "user", "content": "why?"}, {"role": "assistant", "content": "because"}]
    records = [{"messages": [*turns, {"role": "user", "content": str(i)}, turns[1]]} for i in range(20)]
    return _prepare("prepare-sft", folder, tokenizer, records)


def prepare_preferences(folder: Path, tokenizer: Path) -> list[str]:
    keys = ("prompt", "chosen_response", "rejected_response", "chosen_reward", "rejected_reward")
    records = [dict(zip(keys, (f"why {i}?", "so", "no", 2, 1), strict=True)) for i in range(20)]
    return _prepare("prepare-preferences", folder, tokenizer, records)


def _prepare(stage: str, folder: Path, tokenizer: Path, records: list[Any]) -> list[str]:
    source = {"name": "x", "input": str(write_lines(folder / "x.jsonl", [*records, "{"])), "validation_count": 3}
    keys = [f"sources={json.dumps([source])}", f"output_dir={folder}/out", "max_invalid=0.1", "workers=1"]
    return [stage, *keys, f"tokenizer.path={tokenizer}"]


def curate(folder: Path, _: Path) -> list[str]:
    pytest.importorskip("datatrove")
    words = ["a", "quiet", "morning", "on", "the", "lake", "with", "friends", "and", "a", "long", "walk", "home"]
    texts = [" ".join([*words[i % 7 :], str(i), *words]) for i in range(30)]
    records = [{"id": str(i), "text": text} for i, text in enumerate(texts)]
    posts = write_lines(folder / "posts.jsonl", [*records, {"text": "short"}])
    keys = [f"sources=[{{name: x, input: {posts}}}]", f"output_dir={folder}/out", "workers=1", "tasks=1"]
    return ["curate", *keys, "deduplicate=exact", "held_out.fraction=0.2"]


def build_preferences(folder: Path, _: Path) -> list[str]:
    labels = [dict.fromkeys(ANNOTATORS, 1 + i % 2) for i in range(10)] + [{"ann": 1, "bo": 2, "cy": 0}]
    records = [{"id": i, "q": f"q {i}", "a": f"A{i}", "b": f"B{i}", **given} for i, given in enumerate(labels)]
    source = {"input": [str(write_lines(folder / "r.jsonl", records))], "prompt": "{q}", "id_key": "id"}
    people = {"annotators": ANNOTATORS, "kind": "choice"}
    entry = {"name": "people", "source": source, "responses": ["a", "b"], "labels": people}
    return ["build-preferences", f"annotated={json.dumps([entry])}", f"output_dir={folder}/out"]


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


# What a manifest says of when and how it was made.
UNCOMPARED = ("rendered_at", "seal", "config", "config_hash")

DAMAGE: dict[str, Callable[[Path], Any]] = {
    "deleted": lambda path: path.unlink(),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-2]),
    "flipped": lambda path: path.write_bytes(flipped(path.read_bytes())),
}


def outputs(folder: Path) -> dict[str, Any]:
    """The bytes of all files; of manifests what they say, without the time of their making."""
    found: dict[str, Any] = {}
    for path in sorted(path for path in (folder / "out").rglob("*") if path.is_file()):
        content: Any = path.read_bytes()
        if path.name.endswith(("manifest.json", "summary.json")):
            content = json.loads(content)
            content = {name: value for name, value in content.items() if name not in UNCOMPARED}
        found[str(path.relative_to(folder))] = content
    return found


def select_quality(folder: Path, tokenizer: Path) -> list[str]:
    model = hf_folders.write(folder / "model", "qwen2_tied")
    posts = write_lines(
        folder / "posts.jsonl", [{"text": f"post {i} of some words", "language": "en"} for i in range(40)]
    )
    keys = [f"sources=[{{name: x, input: {posts}}}]", f"output_dir={folder}/out", "block_documents=16"]
    return ["select-quality", *keys, f"perplexity.model={model}"]


# Of select-quality, `overwrite` keeps the scores, which cost the most: test_select_quality.py.
STAGES = [tokenize, prepare_sft, prepare_preferences, curate, build_preferences]


@pytest.mark.parametrize("stage", [*STAGES, select_quality])
def test_what_is_damaged_is_made_again_or_named(
    tmp_path: Path, tokenizer: Path, stage: Callable[[Path, Path], list[str]]
) -> None:
    command = stage(tmp_path, tokenizer)
    done = commands.main(*command)
    assert done.returncode in (0, None), done.stderr
    whole = outputs(tmp_path)
    assert len(whole) >= 3
    shutil.copytree(tmp_path / "out", tmp_path / "kept")
    assert "complete already" in commands.main(*command).stderr
    for name in whole:
        for kind, damage in DAMAGE.items():
            damage(tmp_path / name)
            again = commands.main(*command)
            if again.returncode == 2:
                assert name in again.stderr or name.removesuffix(".manifest.json") + ".idx" in again.stderr, (
                    kind,
                    name,
                )
                shutil.rmtree(tmp_path / "out")
                shutil.copytree(tmp_path / "kept", tmp_path / "out")
            else:
                assert again.returncode in (0, None), again.stderr
                assert outputs(tmp_path) == whole, f"{name} {kind}: {again.stderr}"


@pytest.mark.parametrize("stage", STAGES)
def test_overwrite_rewrites_whatever_is_there(
    tmp_path: Path, tokenizer: Path, stage: Callable[[Path, Path], list[str]]
) -> None:
    command = stage(tmp_path, tokenizer)
    commands.main(*command)
    whole = outputs(tmp_path)
    for name in whole:
        (tmp_path / name).write_bytes(b"nonsense")
    done = commands.main(*command, "overwrite=true")
    assert done.returncode in (0, None), done.stderr
    assert outputs(tmp_path) == whole
    written = {name: (tmp_path / name).stat().st_mtime_ns for name in whole}
    done = commands.main(*command, "overwrite=true")
    assert "complete already" not in done.stderr and outputs(tmp_path) == whole
    assert all((tmp_path / name).stat().st_mtime_ns > time for name, time in written.items())


def test_a_manifest_that_names_a_file_elsewhere_removes_nothing_there(tmp_path: Path, tokenizer: Path) -> None:
    command = curate(tmp_path, tokenizer)
    commands.main(*command)
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    manifest = tmp_path / "out/manifest.json"
    content = json.loads(manifest.read_text())
    del content["seal"]
    content["outputs"][0]["path"] = "../precious.txt"
    manifest.write_text(json.dumps(content))
    done = commands.main(*command, "overwrite=true")
    assert done.returncode == 2 and "lies outside" in done.stderr
    assert precious.read_text() == "mine"
