"""Settings of AdamW and of its schedule that contradict each other are refused."""

import pytest

from megatron_redone.config.loader import load_config
from megatron_redone.config.optimizer import OptimizerConfig
from megatron_redone.errors import UserError


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["min_lr=1"], "is more than lr"),
        (["warmup_steps=3", "warmup_ratio=0.1"], "leave one of them out"),
        (["schedule=cosin"], "expected cosine|linear|constant|wsd"),
        (["adam_beta2=1"], "adam_beta2: 1.0 is not below 1"),
        (["weight_decay=-0.1"], "weight_decay: -0.1 is less than 0"),
        (["warmup_ratio=1.5"], "warmup_ratio: 1.5 is more than 1"),
    ],
)
def test_contradictions_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config(OptimizerConfig, None, overrides)
    assert message in str(caught.value)


def test_a_constant_rate_and_no_warmup_are_allowed() -> None:
    config = load_config(OptimizerConfig, None, ["min_lr=1e-4", "lr=1e-4", "warmup_steps=0", "clip_grad=0"])
    assert config.min_lr == config.lr and config.warmup_steps == 0
