"""Whom a run reports to."""

import pytest

from megatron_redone.config.loader import load_config
from megatron_redone.config.metrics import MetricsConfig
from megatron_redone.errors import UserError


def test_nothing_is_sent_anywhere_unless_a_project_is_named() -> None:
    config = load_config(MetricsConfig)
    assert config.wandb_project is None and not config.tensorboard


@pytest.mark.parametrize(
    ("override", "message"),
    [("wandb_name=x", "wandb_name: counts only with wandb_project; give that too, or leave the name out"),
     ("log_interval=0", "log_interval: 0 is less than 1"),
     ("tensorboard=often", "tensorboard: expected bool, got 'often'")],
)  # fmt: skip
def test_mistakes_are_told_in_one_line(override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config(MetricsConfig, None, [override])
    assert str(caught.value) == message
