"""Values reach a parameter, and the unrounded ones that Transformer Engine keeps beside an FP8 parameter."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from megatron_redone.checkpoint.rectangles import Rectangle
from megatron_redone.models.set_weight import set_weight
from megatron_redone.models.shards import Shard
from megatron_redone.training import model_state

VALUES = torch.arange(6.0).view(3, 2) + 0.123


def rounded() -> tuple[Any, list[torch.Tensor | None]]:
    """A parameter as Transformer Engine leaves it: what the optimizer begins with lies apart."""
    parameter: Any = torch.nn.Parameter(torch.zeros(3, 2, dtype=torch.float8_e4m3fn), requires_grad=False)
    kept: list[torch.Tensor | None] = [torch.full((3, 2), 7.0)]
    parameter.get_high_precision_init_val = lambda: kept[0]
    return parameter, kept


def test_plain_parameter() -> None:
    parameter = torch.nn.Parameter(torch.zeros(3, 2))
    set_weight(parameter, VALUES)
    assert torch.equal(parameter, VALUES)


def test_unrounded_values_follow() -> None:
    parameter, kept = rounded()
    set_weight(parameter, VALUES)
    assert torch.equal(parameter.float(), VALUES.to(torch.float8_e4m3fn).float())
    assert kept[0] is not None and torch.equal(kept[0], VALUES)


def test_after_an_optimizer_has_taken_them() -> None:
    parameter, kept = rounded()
    kept[0] = None
    set_weight(parameter, VALUES)
    assert parameter.float().sum() > 0


def test_weights_from_a_hugging_face_directory() -> None:
    parameter, kept = rounded()
    Shard(name="w", parameter=parameter, full_shape=(3, 2), dim=None, ranges=()).fill(VALUES)
    assert kept[0] is not None and torch.equal(kept[0], VALUES)


def test_weights_from_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read into memory of their own, as an FP8 parameter has none of its apparent type."""
    parameter: Any = torch.nn.Parameter(torch.zeros(3, 2), requires_grad=False)
    kept = torch.full((3, 2), 7.0)
    parameter.get_high_precision_init_val = lambda: kept
    monkeypatch.setattr(model_state, "is_float8tensor", lambda tensor: tensor is parameter)
    place = SimpleNamespace(parts=(Rectangle(key="w", full_shape=(3, 2), offsets=(0, 0), sizes=(3, 2)),))
    chunk: Any = SimpleNamespace(tensors={"w": parameter}, places={"w": place})
    stored: Any = SimpleNamespace(fill=lambda wanted: [values.tensor.copy_(VALUES) for values in wanted])
    model_state._fill_weights(chunk, stored, from_main=False)
    assert torch.equal(kept, VALUES) and torch.equal(parameter, VALUES)
