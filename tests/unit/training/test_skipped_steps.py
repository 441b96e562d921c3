"""A run that does not move any more ends, and not before."""

import pytest

from megatron_redone.errors import UserError
from megatron_redone.training.skipped_steps import SkippedSteps
from tests.helpers.one_process import finished


def test_only_steps_in_a_row_count() -> None:
    guard = SkippedSteps(3)
    for step, skipped in enumerate([True, True, False, True, True]):
        guard.after_step(finished(step, skipped=skipped))
    with pytest.raises(UserError, match="step 7: 3 steps in a row were skipped, the last one for a reason; lower"):
        guard.after_step(finished(7, skipped=True))


def test_one_is_enough_where_one_is_the_limit() -> None:
    guard = SkippedSteps(1)
    guard.after_step(finished(1))
    with pytest.raises(UserError, match="1 steps in a row"):
        guard.after_step(finished(2, skipped=True))
