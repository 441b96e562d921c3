"""NaN is never trained on."""

import pytest

from megatron_redone.config.guards import OnBadStep, OnNotFinite
from megatron_redone.config.loader import load_config
from megatron_redone.config.pretrain import PretrainConfig
from megatron_redone.config.schema import describe_keys
from megatron_redone.errors import UserError

GIVEN = [
    "output_dir=run",
    "init_from=model",
    "data.blend=[{path: data}]",
    "data.seq_length=8",
    "training.global_batch_size=8",
    "training.train_steps=1",
]


def test_nan_is_not_only_told() -> None:
    with pytest.raises(UserError, match=r"guards\.on_not_finite: expected skip\|rollback\|stop, got 'tell'"):
        load_config(PretrainConfig, None, [*GIVEN, "guards.on_not_finite=tell"])


def test_the_help_offers_what_is_taken() -> None:
    types = {row.name: row.type for row in describe_keys(PretrainConfig)}
    for word in types["guards.on_not_finite"].split("|"):
        loaded = load_config(PretrainConfig, None, [*GIVEN, f"guards.on_not_finite={word}"])
        assert loaded.guards.on_not_finite is OnNotFinite[word]
    assert set(OnNotFinite.__members__) == set(OnBadStep.__members__) - {"tell"}
