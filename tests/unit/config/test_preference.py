"""What a preference loss is made of, and which settings contradict it."""

from typing import Any

import pytest

from megatron_redone.config.loader import load_config
from megatron_redone.config.preference import PreferenceLossConfig
from megatron_redone.errors import UserError


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["beta=0"], "beta: 0.0 is not above 0"),
        (["label_smoothing=0.5"], "label_smoothing: 0.5"),
        (["loss=ipo", "label_smoothing=0.1"], "loss=ipo has none"),
        (["simpo_gamma=-1"], "simpo_gamma"),
        (["gt_reward_scale=0"], "gt_reward_scale"),
        (["sft_loss_weight=-1"], "sft_loss_weight"),
        (["preference_loss_weight=0"], "both 0"),
        (["loss=orpo"], "set it to 1"),
        (["loss=simpo", "average_log_probs=false"], "defined on means"),
        (["loss=kto"], "loss: expected dpo|ipo|hinge|rpo_bwd_kl"),
    ],
)
def test_contradictions_are_refused_in_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config(PreferenceLossConfig, overrides=overrides)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "mean", "reference", "rewards"),
    [
        ({"loss": "dpo"}, False, True, False),
        ({"loss": "dpo", "average_log_probs": "true"}, True, True, False),
        ({"loss": "ipo"}, True, True, False),
        ({"loss": "ipo", "average_log_probs": "false"}, False, True, False),
        ({"loss": "rpo_sq"}, False, True, True),
        ({"loss": "simpo"}, True, False, False),
        ({"loss": "orpo", "sft_loss_weight": "1"}, True, False, False),
    ],
)
def test_a_loss_says_what_it_needs(values: dict[str, Any], mean: bool, reference: bool, rewards: bool) -> None:
    config = load_config(PreferenceLossConfig, overrides=[f"{name}={value}" for name, value in values.items()])
    assert config.mean_log_probs is mean
    assert (config.loss.needs_reference, config.loss.needs_rewards) == (reference, rewards)
