"""What a run reads: names that reports can tell apart, weights for all or for none."""

import pytest

from megatron_redone.config.data import DataConfig
from megatron_redone.config.loader import load_config
from megatron_redone.errors import UserError

ONE = "blend=[{path: tokens/social}]"


def load(*overrides: str) -> DataConfig:
    return load_config(DataConfig, None, ["seq_length=8", *overrides])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["blend=[]"], "blend: the list is empty"),
        (["blend=[{path: a/x}, {path: b/x}]"], "blend: two sources are called 'x'"),
        ([ONE, "validation=[{path: a/x}, {path: b, name: x}]"], "validation: two sources are called 'x'"),
        (["blend=[{path: a, weight: 1}, {path: b}, {path: c}]"], "no weight is given for b, c"),
        (["blend=[{path: a, weight: 0}]"], "blend[0].weight: 0.0 is not above 0"),
        ([ONE, "seq_length=0"], "seq_length: 0 is less than 1"),
    ],
)
def test_contradictions_are_refused_in_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        load(*overrides)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_source_is_called_by_the_last_part_of_its_path_or_by_its_name() -> None:
    config = load("blend=[{path: a/x}, {path: b/x, name: other}]", "validation=[{path: c/x}]")
    assert [source.label for source in config.blend] == ["x", "other"]
    assert [source.label for source in config.validation] == ["x"]


@pytest.mark.parametrize("weights", [(1, 2.5), (None, None)])
def test_weights_for_all_or_for_none(weights: tuple[float | None, float | None]) -> None:
    first, second = ("null" if weight is None else weight for weight in weights)
    config = load(f"blend=[{{path: a, weight: {first}}}, {{path: b, weight: {second}}}]")
    assert tuple(source.weight for source in config.blend) == weights
