"""The oracle is the concatenation of the documents as megatron-core's reader gives them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from megatron.core.datasets.indexed_dataset import IndexedDataset as MegatronDataset

from megatron_redone.datasets.document_borders import DocumentBorders, SortedFileArray
from megatron_redone.datasets.token_stream import TokenStream
from megatron_redone.datasets.vocabulary import Vocabulary
from megatron_redone.errors import UserError
from megatron_redone.formats.indexed import IndexedDataset
from megatron_redone.formats.manifest import TOKENS


def concatenated(prefix: str) -> tuple[np.ndarray, np.ndarray]:
    """All tokens, and the positions at which non-empty documents begin."""
    reader = MegatronDataset(prefix)
    tokens = np.concatenate([reader[i] for i in range(len(reader))])
    starts = [reader.index.sequence_pointers[i] // tokens.itemsize for i in reader.document_indices[:-1]]
    return tokens, np.unique(starts)


LENGTHS = {
    "even": [100] * 300,
    "mixed": np.random.default_rng(0).integers(1, 400, 500).tolist(),
    "heavy tail": (np.random.default_rng(1).pareto(0.7, 3000) * 3 + 1).astype(int).clip(1, 20_000).tolist(),
    "tiny then huge": [1] * 4000 + [60_000] + [2] * 2000,
    "empty documents": [0, 0, 5, 0, 70, 0, 0, 900, 1, 0],
    "one document": [1000],
}


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
def test_samples_are_slices_of_the_concatenated_documents(write_dataset, lengths: list[int], pieces: int) -> None:
    prefix = write_dataset(lengths, pieces=pieces)
    everything, starts = concatenated(prefix)
    stream = TokenStream(prefix, seq_length=64, seed=5, shuffle=False)
    assert stream.samples_per_epoch == (len(everything) - 1) // 64
    for i in range(0, stream.samples_per_epoch, max(1, stream.samples_per_epoch // 100)):
        assert np.array_equal(stream.tokens(i), everything[i * 64 : i * 64 + 65])
        expected = starts[(starts > i * 64) & (starts <= i * 64 + 64)] - i * 64
        assert np.array_equal(stream.document_starts(i), expected)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_an_epoch_is_every_sample_once_and_epochs_differ(write_dataset, dtype) -> None:
    prefix = write_dataset([50] * 200, dtype=dtype)
    stream, other = (TokenStream(prefix, seq_length=10, seed=seed) for seed in (1, 2))
    count = stream.samples_per_epoch
    epochs = [[stream.position(e * count + i) for i in range(count)] for e in range(3)]
    assert all(sorted(epoch) == [10 * i for i in range(count)] for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0] != [other.position(i) for i in range(count)]
    assert stream.tokens(3).dtype == dtype


def test_the_document_at_a_position(write_dataset) -> None:
    for pieces in (1, 2):
        lengths = LENGTHS["mixed"]
        borders = DocumentBorders(IndexedDataset(write_dataset(lengths, name=f"d{pieces}", pieces=pieces)))
        ends = np.cumsum(lengths)
        for position in (0, 1, int(ends[0]) - 1, int(ends[0]), 7777, int(ends[-1]) - 1):
            document = int(np.searchsorted(ends, position, side="right"))
            expected = (document, position - int(ends[document] - lengths[document]))
            assert borders.document_at(position) == expected


@pytest.mark.parametrize("shape", ["line", "exponential", "steps", "random"])
def test_the_search_in_a_file_agrees_with_numpy(tmp_path: Path, shape: str) -> None:
    random, n = np.random.default_rng(0), 20_000
    entries = {
        "line": np.arange(n) * 7,
        "exponential": np.unique((1.002 ** np.arange(n)).clip(0, 2**62).astype(np.int64)),
        "steps": np.repeat(np.arange(n // 1000) * 10**12, 1000),
        "random": np.sort(random.integers(0, 2**40, n)),
    }[shape]
    (tmp_path / "array").write_bytes(b"head" + entries.astype(np.int64).tobytes())
    with open(tmp_path / "array", "rb") as file:
        array = SortedFileArray(file.fileno(), tmp_path / "array", np.memmap(tmp_path / "array", np.int64, "r", 4))
        values = [*random.choice(entries, 200), *random.integers(0, int(entries[-1]) + 1, 200), -1, 0, entries[-1] + 1]
        for value in values:
            assert array.search(int(value)) == np.searchsorted(entries, value)


def test_too_few_tokens(write_dataset) -> None:
    assert TokenStream(write_dataset([65]), seq_length=64, seed=0).samples_per_epoch == 1
    with pytest.raises(UserError, match=r"64 tokens are fewer than one sample .* 65; lower seq_length"):
        TokenStream(write_dataset([64]), seq_length=64, seed=0)
    with pytest.raises(UserError, match="0 tokens"):
        TokenStream(write_dataset([]), seq_length=64, seed=0)


@pytest.mark.parametrize("bad", [999, -1])
def test_an_id_beyond_the_vocabulary_is_named(write_dataset, bad: int) -> None:
    prefix = write_dataset([40, 40, 40], vocab=500)
    tokens = np.memmap(f"{prefix}.bin", np.int32, "r+")
    tokens[50] = bad
    tokens.flush()
    stream = TokenStream(prefix, seq_length=20, seed=0, shuffle=False, vocabulary=Vocabulary(size=500))
    stream.tokens(1)
    with pytest.raises(UserError, match=rf"token 10 of document 1 has id {bad}, .* ends at 499"):
        stream.tokens(2)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({"tokenizer": {"fingerprint": "abc", "vocab_size": 500}}, None),
        ({"tokenizer": {"fingerprint": "xyz", "vocab_size": 500}}, "made with tokenizer xyz, the model's is abc"),
        ({"tokenizer": {"fingerprint": "abc", "vocab_size": 501}}, "tokenizer has 501 ids, the model's vocabulary 500"),
        ({"tokenizer": None}, None),
        ({}, None),
    ],
)
def test_the_manifest_is_compared(write_dataset, manifest, message: str | None) -> None:
    prefix = write_dataset([100])
    Path(f"{prefix}.manifest.json").write_text(json.dumps({"format": TOKENS, **manifest}))
    vocabulary = Vocabulary(size=500, fingerprint="abc")
    if message is None:
        TokenStream(prefix, seq_length=10, seed=0, vocabulary=vocabulary)
    else:
        with pytest.raises(UserError, match=message):
            TokenStream(prefix, seq_length=10, seed=0, vocabulary=vocabulary)


def test_a_damaged_manifest_and_a_name_with_dots(write_dataset, tmp_path: Path) -> None:
    prefix = write_dataset([100])
    for suffix in ("bin", "idx"):
        shutil.copy(f"{prefix}.{suffix}", tmp_path / f"v1.5.{suffix}")
    (tmp_path / "v1.5.manifest.json").write_text("{")
    with pytest.raises(UserError, match=r"v1\.5\.manifest\.json: not readable as JSON"):
        TokenStream(str(tmp_path / "v1.5"), seq_length=10, seed=0, vocabulary=Vocabulary(size=9999))
