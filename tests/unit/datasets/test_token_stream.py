"""The oracle is the concatenation of the documents as megatron-core's reader gives them."""

import numpy as np
import pytest
from megatron.core.datasets.indexed_dataset import IndexedDataset as MegatronDataset

from megatron_redone.datasets.token_stream import TokenStream
from megatron_redone.errors import UserError


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


def test_too_few_tokens(write_dataset) -> None:
    assert TokenStream(write_dataset([65]), seq_length=64, seed=0).samples_per_epoch == 1
    with pytest.raises(UserError, match=r"64 tokens are fewer than one sample .* 65; lower seq_length"):
        TokenStream(write_dataset([64]), seq_length=64, seed=0)
    with pytest.raises(UserError, match="0 tokens"):
        TokenStream(write_dataset([]), seq_length=64, seed=0)
