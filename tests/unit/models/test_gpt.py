"""Rows of padding take no part in the softmax, and chosen positions are those of the flattened batch."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from megatron_redone.models import gpt
from megatron_redone.models.gpt import _choose, _silence_padding, _whole_sequence


class OutputLayer(torch.nn.Module):
    """One rank's rows of a padded output layer, as megatron-core's: logits and no bias."""

    def __init__(self, weight: torch.Tensor, rows: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight)
        self.output_size, self.output_size_per_partition, self.tp_group = rows, len(weight), None

    def forward(self, hidden: torch.Tensor) -> tuple[torch.Tensor, None]:
        return hidden @ self.weight.T, None


@pytest.mark.parametrize(("vocab", "rows", "ranks"), [(5, 8, 1), (5, 8, 2), (8, 8, 2), (3, 8, 2)])
def test_the_loss_does_not_depend_on_padding(
    monkeypatch: pytest.MonkeyPatch, vocab: int, rows: int, ranks: int
) -> None:
    generator = torch.Generator().manual_seed(1)
    hidden, weight = torch.randn(6, 4, generator=generator), torch.randn(rows, 4, generator=generator)
    parts = []
    for rank, part in enumerate(weight.chunk(ranks)):
        monkeypatch.setattr(gpt, "get_pg_rank", lambda _, rank=rank: rank)
        chunk: Any = SimpleNamespace(output_layer=OutputLayer(part, rows))
        _silence_padding(chunk, vocab)
        parts.append(chunk.output_layer(hidden)[0])
    logits = torch.cat(parts, -1)
    assert bool(torch.isfinite(logits).all())
    torch.testing.assert_close(logits[:, :vocab], hidden @ weight[:vocab].T)
    expected = torch.log_softmax(hidden @ weight[:vocab].T, -1)
    torch.testing.assert_close(torch.log_softmax(logits, -1)[:, :vocab], expected)


def test_gradients_do_not_reach_rows_of_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpt, "get_pg_rank", lambda _: 0)
    chunk: Any = SimpleNamespace(output_layer=OutputLayer(torch.randn(8, 4), 8))
    _silence_padding(chunk, 5)
    logits, _ = chunk.output_layer(torch.randn(3, 4))
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 4])).backward()
    grad = chunk.output_layer.weight.grad
    assert not grad[5:].any() and bool(grad[:5].any(1).all())


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
