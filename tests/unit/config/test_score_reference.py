"""What is scored, and where the scores go: each beside its dataset unless a folder is named."""

import pytest

from megatron_redone.config.loader import load_config
from megatron_redone.config.schema import files_written
from megatron_redone.config.score_reference import ScoreReferenceConfig
from megatron_redone.errors import UserError
from megatron_redone.formats.reference_scores import reference_path

DATA = "data=[{path: pairs/a}, {path: pairs/b, name: other}]"


def load(*overrides: str) -> ScoreReferenceConfig:
    return load_config(ScoreReferenceConfig, None, ["init_from=runs/sft", *overrides])


@pytest.mark.parametrize("overrides", [[], ["output_dir=scores"]])
def test_what_the_pipeline_watches_is_where_scores_are_written(overrides: list[str]) -> None:
    config = load(DATA, *overrides)
    watched = files_written(config)
    paths = [str(reference_path(source.path, source.label, config.output_dir)) for source in config.data]
    for path in paths:
        assert any(path.startswith((f"{place}.", f"{place}/")) for place in watched), path
    assert [source.label for source in config.data] == ["a", "other"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=[]"], "data: the list is empty; name at least one dataset"),
        ([DATA, "batch_size=0"], "batch_size: 0 is less than 1"),
        ([DATA, "model.fp8.recipe=delayed"], "model.fp8: counts under precision=fp8 or fp8_emulated only"),
    ],
)
def test_mistakes_are_told_in_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        load(*overrides)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)
