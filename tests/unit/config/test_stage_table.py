"""The table of sub-commands is what the package has."""

from pathlib import Path

import pytest

from megatron_redone.config.loader import load_config
from megatron_redone.config.schema import describe_keys
from megatron_redone.config.stage_table import STAGES
from megatron_redone.errors import UserError

PACKAGE = Path(__file__).parents[3] / "megatron_redone"


def test_the_files_of_stages_are_the_table() -> None:
    assert {path.stem for path in (PACKAGE / "stages").glob("*.py")} - {"__init__"} == {
        name.replace("-", "_") for name in STAGES
    }


@pytest.mark.parametrize("name", STAGES)
def test_options_and_the_folder_stand_for_keys_of_the_stage(name: str) -> None:
    stage = STAGES[name]
    keys = [row.name for row in describe_keys(stage.config_class())]
    targets = [*stage.options.values(), *([stage.folder_key] if stage.folder_key else [])]
    assert set(targets) <= set(keys) and len(set(keys)) == len(keys)


def test_stages_that_resume_say_whether_they_may() -> None:
    for stage in STAGES.values():
        keys = [row.name for row in describe_keys(stage.config_class())]
        assert stage.resumes == ("checkpoint.resume" in keys)


@pytest.mark.parametrize("name", [name for name in STAGES if name != "doctor"])
def test_a_stage_without_keys_tells_in_one_line_what_is_missing(name: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config(STAGES[name].config_class())
    assert "\n" not in str(caught.value)
