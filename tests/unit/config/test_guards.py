"""NaN is never trained on."""

import pytest

from megatron_redone.config.guards import GuardConfig, OnBadStep
from megatron_redone.errors import UserError


def test_nan_is_not_only_told() -> None:
    with pytest.raises(UserError, match="give one of skip, rollback, stop"):
        GuardConfig(on_not_finite=OnBadStep.tell)
