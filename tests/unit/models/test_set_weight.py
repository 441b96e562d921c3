"""Values reach a parameter, and the unrounded ones that Transformer Engine keeps beside an FP8 parameter."""

from types import SimpleNamespace
from typing import Any

import torch

from megatron_redone.models.set_weight import set_weight
from megatron_redone.models.shards import Shard
from megatron_redone.training.model_state import load_weights

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


def test_every_way_that_weights_come_in() -> None:
    """Drawn or from a Hugging Face directory (shards), and from a checkpoint."""
    parameter, kept = rounded()
    Shard(name="w", parameter=parameter, full_shape=(3, 2), dim=None, ranges=()).fill(VALUES)
    assert kept[0] is not None and torch.equal(kept[0], VALUES)

    parameter, kept = rounded()
    chunk: Any = SimpleNamespace(
        named_parameters=lambda: [("w", parameter)], named_modules=list, load_state_dict=lambda state: None
    )
    load_weights([chunk], {"model0": {"w": VALUES}})
    assert kept[0] is not None and torch.equal(kept[0], VALUES)
