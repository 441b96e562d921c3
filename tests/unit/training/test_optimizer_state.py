"""Settings of an optimizer: no classes, and those of another optimizer are told in one line."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from megatron_redone.errors import UserError
from megatron_redone.training.optimizer_state import load_settings, optimizer_settings


def optimizer() -> Any:
    """Stands for megatron-core's over fp32 weights, on one rank."""
    from megatron.core.optimizer.optimizer import MegatronOptimizer

    group = {
        "lr": 1.0,
        "step": 3,
        "wd_mult": 1.0,
        "lr_mult": 1.0,
        "is_expert_parallel": False,
        "is_decoupled_lr": False,
    }
    inner = SimpleNamespace(
        param_groups=[{"params": [torch.zeros(1)], **group, "cpu_optimizer_cls": torch.optim.AdamW}]
    )
    return SimpleNamespace(
        optimizer=inner,
        config=None,
        init_state_fn=lambda *_: None,
        _filter_and_reorder_param_groups=MegatronOptimizer._filter_and_reorder_param_groups,
    )


def test_a_checkpoint_names_no_classes() -> None:
    """What megatron-core's optimizer puts into every group could not be read back."""
    [group] = optimizer_settings(optimizer())["param_groups"]
    assert group["lr"] == 1.0 and "params" not in group and "cpu_optimizer_cls" not in group


def test_learning_rate_and_step_come_back_however_the_optimizer_was_shared() -> None:
    ours = optimizer()
    [group] = optimizer_settings(ours)["param_groups"]
    for stored in ({"param_groups": [{**group, "lr": 2.0}]}, {"optimizer": {"param_groups": [{**group, "step": 9}]}}):
        load_settings(ours, stored)
    [found] = ours.optimizer.param_groups
    assert (found["lr"], found["step"], len(found["params"])) == (1.0, 9, 1)


@pytest.mark.parametrize("stored", [{}, {"param_groups": []}, {"param_groups": [{"lr": 1.0}]}, {"param_groups": 3}])
def test_other_groups_are_one_line(stored: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"common\.pt: its parameter groups are not those"):
        load_settings(optimizer(), stored)
