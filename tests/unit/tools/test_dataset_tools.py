"""The scripts with Megatron-LM's flags, called as programs."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from megatron_redone.formats.indexed import IndexedDataset, IndexedDatasetWriter
from tests.helpers import commands, small_tokenizer

TOOLS = Path(__file__).parents[3] / "tools"


def tool(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return commands.to_its_end([sys.executable, str(TOOLS / name), *map(str, arguments)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer, posts with two keys, and the datasets that preprocess_data.py makes of them."""
    path = tmp_path_factory.mktemp("tools")
    small_tokenizer.train(path / "tokenizer")
    posts = [{"title": f"t{i}", "text": text} for i, text in enumerate(small_tokenizer.TEXT)]
    (path / "a.json").write_text("".join(json.dumps(post) + "\n" for post in posts))
    flags = ["--tokenizer-type", "HuggingFaceTokenizer", "--tokenizer-model", path / "tokenizer", "--workers", 1]
    flags += ["--json-keys", "title", "text", "--append-eod"]
    done = tool("preprocess_data.py", "--input", path / "a.json", "--output-prefix", path / "sets/a", *flags)
    assert done.returncode == 0, done.stderr
    return path


def test_preprocess_data_names_its_output_as_megatron_does(folder: Path) -> None:
    for key in ("title", "text"):
        assert len(IndexedDataset(folder / f"sets/a_{key}_document")) == len(small_tokenizer.TEXT)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--split-sentences"], "--split-sentences: sentences are for BERT-like models"),
        (["--frobnicate", "1"], "--frobnicate: unknown flag"),
        (["--tokenizer-type", "BertWordPieceCase"], "BertWordPieceCase is not one of"),
    ],
)
def test_flags_that_are_not_served_say_so(folder: Path, flags: list[str], message: str) -> None:
    base = ["--input", folder / "a.json", "--output-prefix", folder / "x"]
    base += ["--tokenizer-type", "HuggingFaceTokenizer", "--tokenizer-model", folder / "tokenizer"]
    refused = tool("preprocess_data.py", *base, *flags)
    assert refused.returncode == 2 and message in refused.stderr and "Traceback" not in refused.stderr


def test_merge_joins_all_datasets_of_a_folder(folder: Path) -> None:
    merged = tool("merge_datasets.py", "--input", folder / "sets", "--output-prefix", folder / "merged")
    assert merged.returncode == 0, merged.stderr
    parts = [IndexedDataset(folder / f"sets/a_{key}_document") for key in ("text", "title")]
    whole = IndexedDataset(folder / "merged")
    assert [d.tolist() for d in map(whole.__getitem__, range(len(whole)))] == [
        part[i].tolist() for part in parts for i in range(len(part))
    ]
    again = tool("merge_datasets.py", "--input", folder / "sets", "--output-prefix", folder / "merged")
    assert again.returncode == 2 and "is there already" in again.stderr


def test_merge_refuses_datasets_that_do_not_fit(tmp_path: Path) -> None:
    for name, dtype in {"a": np.int32, "b": np.uint16}.items():
        with IndexedDatasetWriter(tmp_path / "in" / name, dtype) as writer:
            writer.add(np.arange(3), np.array([3]))
            writer.finish()
    refused = tool("merge_datasets.py", "--input", tmp_path / "in", "--output-prefix", tmp_path / "out")
    assert refused.returncode == 2 and "token type uint16" in refused.stderr
    assert not list(tmp_path.glob("out*"))


def test_inspect_shows_texts_and_the_histogram(folder: Path) -> None:
    shown = tool("inspect_dataset.py", folder / "sets/a_text_document", "--check", "--documents", 2)
    assert shown.returncode == 0, shown.stderr
    assert "check passed" in shown.stdout and "4 documents, 4 sequences" in shown.stdout
    for text in small_tokenizer.TEXT[:2]:
        assert text + "<|endoftext|>" in shown.stdout
    assert small_tokenizer.TEXT[2] not in shown.stdout


def test_inspect_finds_damage(folder: Path, tmp_path: Path) -> None:
    for suffix in (".bin", ".bin.xxh3", ".idx", ".idx.xxh3", ".manifest.json"):
        (tmp_path / f"d{suffix}").write_bytes((folder / f"sets/a_text_document{suffix}").read_bytes())
    content = bytearray((tmp_path / "d.bin").read_bytes())
    content[0] ^= 1
    (tmp_path / "d.bin").write_bytes(content)
    found = tool("inspect_dataset.py", tmp_path / "d", "--check")
    assert found.returncode == 2 and "d.bin: damaged (its bytes from 0 on" in found.stderr
    (tmp_path / "d.bin").write_bytes(content[:-2])
    found = tool("inspect_dataset.py", tmp_path / "d")
    assert found.returncode == 2 and "truncated" in found.stderr and found.stderr.count("\n") == 1
