"""Arrays become tensors of the same numbers and type, over their memory where that can be."""

import numpy as np
import pytest
import torch

from megatron_redone.datasets.tensors import to_tensor


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float32, np.uint8])
def test_numbers_and_types_are_kept(dtype: type) -> None:
    array = np.arange(24).reshape(4, 6).astype(dtype)
    for view in (array, array.T, array[::2, 1::2], array[::-1]):
        tensor = to_tensor(view)
        assert tensor.is_contiguous() and np.array_equal(tensor.numpy(), view) and tensor.numpy().dtype == dtype


def test_memory_is_shared_where_it_can_be() -> None:
    array = np.zeros(4, np.int64)
    to_tensor(array)[1] = 7
    assert array.tolist() == [0, 7, 0, 0]


def test_what_must_not_be_written_is_copied() -> None:
    """Arrays over a file are of this kind: torch would warn, and writing would end the process."""
    array = np.frombuffer(np.arange(4).tobytes(), np.int64)
    tensor = to_tensor(array)
    tensor += 1
    assert array.tolist() == [0, 1, 2, 3] and torch.equal(tensor, torch.arange(1, 5))
