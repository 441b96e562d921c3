"""The length of a run, given in one of three ways."""

import itertools
from fractions import Fraction

import pytest

from megatron_redone.config.loader import load_config
from megatron_redone.config.training import TrainingConfig
from megatron_redone.errors import UserError

SIZES = list(itertools.product([1, 3, 8], [1, 7, 32], [1, 10, 99]))


def steps(keys: list[str], batch: int, seq_length: int, samples: int) -> int:
    config = load_config(TrainingConfig, None, [f"global_batch_size={batch}", *keys])
    return config.steps(seq_length, samples)


@pytest.mark.parametrize(("batch", "seq_length", "samples"), SIZES)
def test_a_run_is_the_shortest_that_has_what_was_asked_for(batch: int, seq_length: int, samples: int) -> None:
    by_tokens = steps(["train_tokens=1000"], batch, seq_length, samples)
    assert (by_tokens - 1) * batch * seq_length < 1000 <= by_tokens * batch * seq_length
    by_epochs = steps(["train_epochs=2.5"], batch, seq_length, samples)
    assert (by_epochs - 1) * batch < Fraction(5, 2) * samples <= by_epochs * batch
    assert steps(["train_steps=12"], batch, seq_length, samples) == 12


@pytest.mark.parametrize("keys", [[], ["train_steps=1", "train_epochs=1"], ["train_steps=1", "train_tokens=1"]])
def test_one_length_is_given(keys: list[str]) -> None:
    with pytest.raises(UserError, match=f"train_steps: give one of .*, not {len(keys)} of them"):
        steps(keys, 1, 1, 1)


@pytest.mark.parametrize("key", ["train_steps=0", "train_tokens=-1", "train_epochs=0", "validate_every=0"])
def test_a_run_that_does_nothing_is_refused(key: str) -> None:
    with pytest.raises(UserError, match=key.partition("=")[0]):
        steps(["train_steps=1", key], 1, 1, 1)
