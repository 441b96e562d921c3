"""Chosen positions are those of the flattened batch."""

from types import SimpleNamespace

import pytest
import torch

from megatron_redone.models.gpt import _choose, _whole_sequence


def test_positions_count_over_the_flattened_batch() -> None:
    sequence, batch = 5, 3
    hidden = torch.arange(sequence * batch).view(batch, sequence).T[..., None].float()
    chosen = torch.tensor([0, 4, 5, 14])
    found = _choose(hidden, chosen, SimpleNamespace(sequence_parallel=False))
    assert found.shape == (4, 1, 1) and found.flatten().tolist() == chosen.tolist()


def test_sequence_parallelism_of_a_layer_is_put_back_after_an_error() -> None:
    layer = SimpleNamespace(sequence_parallel=True, allreduce_dgrad=False)
    with pytest.raises(KeyError), _whole_sequence(layer):
        assert (layer.sequence_parallel, layer.allreduce_dgrad) == (False, True)
        raise KeyError
    assert (layer.sequence_parallel, layer.allreduce_dgrad) == (True, False)
