"""A report is on something, and on each run once."""

import pytest

from megatron_redone.config.loader import load_config
from megatron_redone.config.report import ReportConfig
from megatron_redone.errors import UserError


@pytest.mark.parametrize("only", ["runs=runs/a", "funnel=curated", "evaluation=evaluated"])
def test_any_of_its_inputs_is_enough(only: str) -> None:
    load_config(ReportConfig, None, ["output=report", only])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [([], "runs: nothing to report on; name runs, funnel, mixture or evaluation"),
     (["runs=[a, b, a]"], "runs: 'a' is named twice"), (["run=a"], "run: unknown key; did you mean 'runs'?")],
)  # fmt: skip
def test_mistakes_are_told_in_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config(ReportConfig, None, ["output=report", *overrides])
    assert str(caught.value) == message
