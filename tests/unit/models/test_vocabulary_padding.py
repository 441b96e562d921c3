"""Rows of padding: how many there are, and that they take no part in the softmax."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from megatron_redone.architectures import parse_architecture
from megatron_redone.config.parallel import ParallelConfig
from megatron_redone.models import vocabulary_padding
from megatron_redone.models.parallel_sizes import padded_vocab_size
from megatron_redone.models.vocabulary_padding import silence_padding
from tests.helpers import hf_models


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
        monkeypatch.setattr(vocabulary_padding, "get_pg_rank", lambda _, rank=rank: rank)
        chunk: Any = SimpleNamespace(output_layer=OutputLayer(part, rows))
        silence_padding(chunk, vocab)
        parts.append(chunk.output_layer(hidden)[0])
    logits = torch.cat(parts, -1)
    assert bool(torch.isfinite(logits).all())
    torch.testing.assert_close(logits[:, :vocab], hidden @ weight[:vocab].T)
    expected = torch.log_softmax(hidden @ weight[:vocab].T, -1)
    torch.testing.assert_close(torch.log_softmax(logits, -1)[:, :vocab], expected)


def test_gradients_do_not_reach_rows_of_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary_padding, "get_pg_rank", lambda _: 0)
    chunk: Any = SimpleNamespace(output_layer=OutputLayer(torch.randn(8, 4), 8))
    silence_padding(chunk, 5)
    logits, _ = chunk.output_layer(torch.randn(3, 4))
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 4])).backward()
    grad = chunk.output_layer.weight.grad
    assert not grad[5:].any() and bool(grad[:5].any(1).all())


@pytest.mark.parametrize(("tensor", "rows"), [(1, 151936), (2, 152064), (4, 152064), (8, 152576)])
def test_vocabulary_rows_of_qwen(tensor: int, rows: int) -> None:
    shape = parse_architecture({**hf_models.hf_config("qwen2_tied").to_dict(), "vocab_size": 151936})
    assert padded_vocab_size(shape, ParallelConfig(tensor_model_parallel_size=tensor)) == rows
