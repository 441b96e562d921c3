"""The oracle is megatron-core's own builder and reader."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from megatron.core.datasets.indexed_dataset import DType, IndexedDatasetBuilder
from megatron.core.datasets.indexed_dataset import IndexedDataset as MegatronDataset

from megatron_redone.errors import UserError
from megatron_redone.formats.indexed import IndexedDataset, IndexedDatasetWriter, token_dtype


def documents(seed: int, vocab: int) -> list[list[np.ndarray]]:
    """Documents of one to three sequences, empty sequences among them."""
    random = np.random.default_rng(seed)
    return [
        [random.integers(0, vocab, random.integers(0, 50)) for _ in range(random.integers(1, 4))] for _ in range(99)
    ]


def write_ours(prefix: Path, docs: list[list[np.ndarray]], vocab: int) -> None:
    with IndexedDatasetWriter(prefix, token_dtype(vocab)) as writer:
        for doc in docs:
            writer.add(np.concatenate(doc), np.array([len(s) for s in doc]), np.array([len(doc)]))
        writer.finish()


def write_megatron(prefix: Path, docs: list[list[np.ndarray]], vocab: int) -> None:
    builder = IndexedDatasetBuilder(f"{prefix}.bin", dtype=DType.optimal_dtype(vocab))
    for doc in docs:
        builder.add_document(torch.from_numpy(np.concatenate(doc)), [len(s) for s in doc])
    builder.finalize(f"{prefix}.idx")


@pytest.mark.parametrize("vocab", [65499, 65500, 151936])
def test_bytes_equal_megatron_core(tmp_path: Path, vocab: int) -> None:
    docs = documents(vocab, vocab)
    write_ours(tmp_path / "ours", docs, vocab)
    write_megatron(tmp_path / "theirs", docs, vocab)
    for suffix in (".bin", ".idx"):
        assert (tmp_path / f"ours{suffix}").read_bytes() == (tmp_path / f"theirs{suffix}").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours.bin", "ours.idx", "theirs.bin", "theirs.idx"]


def test_megatron_core_reads_ours_and_we_read_theirs(tmp_path: Path) -> None:
    docs = documents(7, 1000)
    write_ours(tmp_path / "ours", docs, 1000)
    write_megatron(tmp_path / "theirs", docs, 1000)
    sequences = [s for doc in docs for s in doc]
    for prefix in (tmp_path / "ours", tmp_path / "theirs"):
        reader, megatron = IndexedDataset(prefix), MegatronDataset(str(prefix))
        assert len(reader) == len(megatron) == len(sequences)
        for i, expected in enumerate(sequences):
            assert np.array_equal(reader[i], expected) and np.array_equal(megatron[i], expected)
        for i, doc in enumerate(docs):
            assert np.array_equal(reader.document(i), np.concatenate(doc))
        assert reader.token_count == sum(map(len, sequences))


def test_merge_equals_megatron_core(tmp_path: Path) -> None:
    parts = [documents(seed, 70000) for seed in range(3)]
    builder = IndexedDatasetBuilder(str(tmp_path / "theirs.bin"), dtype=np.int32)
    with IndexedDatasetWriter(tmp_path / "ours", np.int32, checksum=True) as writer:
        for number, docs in enumerate(parts):
            write_ours(tmp_path / f"part{number}", docs, 70000)
            builder.add_index(str(tmp_path / f"part{number}"))
            writer.add_dataset(IndexedDataset(tmp_path / f"part{number}"))
        summary = writer.finish()
    builder.finalize(str(tmp_path / "theirs.idx"))
    for suffix in (".bin", ".idx"):
        assert (tmp_path / f"ours{suffix}").read_bytes() == (tmp_path / f"theirs{suffix}").read_bytes()
    assert summary.documents == 297 and set(summary.files) == {"bin", "idx"}


def test_an_exception_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), IndexedDatasetWriter(tmp_path / "a", np.int32) as writer:
        writer.add(np.arange(3), np.array([3]))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("suffix", "damage", "message"),
    [
        (".idx", lambda b: b[:-3], "truncated"),
        (".idx", lambda b: b[:20], "not a Megatron index"),
        (".idx", lambda b: b"XX" + b[2:], "not a Megatron index"),
        (".idx", lambda b: b[:9] + b"\x07" + b[10:], "version 7"),
        (".bin", lambda b: b[:-1], "truncated"),
        (".bin", lambda b: b + b"\0\0", "longer than its index says"),
    ],
)
def test_damage_is_named(tmp_path: Path, suffix: str, damage, message: str) -> None:
    write_ours(tmp_path / "a", documents(1, 100), 100)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=message):
        IndexedDataset(tmp_path / "a")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.idx: no such file"):
        IndexedDataset(tmp_path / "nothing")


def test_a_read_that_comes_in_parts_is_put_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As network file systems are free to answer."""
    with IndexedDatasetWriter(tmp_path / "a", np.int32) as writer:
        writer.add(np.arange(1000, dtype=np.int32), np.array([1000]))
        writer.finish()
    dataset, whole = IndexedDataset(tmp_path / "a"), os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, offset: whole(fd, min(size, 7), offset))
    assert dataset.read_tokens(3, 900).tolist() == list(range(3, 903))


def test_a_file_that_becomes_shorter_is_named_instead_of_read_as_nothing(tmp_path: Path) -> None:
    with IndexedDatasetWriter(tmp_path / "a", np.int32) as writer:
        writer.add(np.arange(1000, dtype=np.int32), np.array([1000]))
        writer.finish()
    dataset = IndexedDataset(tmp_path / "a")
    os.truncate(tmp_path / "a.bin", 100)
    assert dataset.read_tokens(0, 25).tolist() == list(range(25))
    for start in (20, 500):
        with pytest.raises(UserError, match=r"a\.bin: ends at byte .* it has become shorter since it was opened"):
            dataset.read_tokens(start, 30)
