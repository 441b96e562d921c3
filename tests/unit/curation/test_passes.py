"""Which passes a configuration asks for, and that what one writes the next one reads."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("datatrove")

from megatron_redone.config.curate import CurateConfig, Deduplicate, HeldOutConfig, SourceConfig
from megatron_redone.curation.documents import DocumentWriter
from megatron_redone.curation.held_out import NominateHeldOut
from megatron_redone.curation.passes import Work, funnel_steps, plan_passes
from megatron_redone.curation.reading import plan_shards
from megatron_redone.formats.inputs import expand_inputs


def config(folder: Path, deduplicate: str, fraction: float) -> CurateConfig:
    (folder / "a.jsonl").write_text('{"text": "x"}\n')
    return CurateConfig(
        sources=[SourceConfig(name="posts", input=[str(folder / "a.jsonl")])],
        output_dir=str(folder / "out"),
        deduplicate=Deduplicate[deduplicate],
        held_out=HeldOutConfig(fraction=fraction),
    )


def planned(folder: Path, deduplicate: str, fraction: float, tasks: int = 3) -> Any:
    asked = config(folder, deduplicate, fraction)
    [source] = asked.sources
    shards = plan_shards([(source, file) for file in expand_inputs(source.input)], tasks)
    return asked, plan_passes(asked, shards, folder / "work")


@pytest.mark.parametrize("fraction", [0.0, 0.1])
@pytest.mark.parametrize("deduplicate", ["none", "exact", "minhash"])
def test_every_step_of_the_funnel_is_counted_once(tmp_path: Path, deduplicate: str, fraction: float) -> None:
    asked, passes = planned(tmp_path, deduplicate, fraction)
    counted = [step.name for one in passes for step in one.steps if type(step).__name__ == "Counted"]
    assert ["read", *counted] == funnel_steps(asked)


@pytest.mark.parametrize("fraction", [0.0, 0.1])
@pytest.mark.parametrize("deduplicate", ["none", "exact", "minhash"])
def test_what_is_read_was_written_before(tmp_path: Path, deduplicate: str, fraction: float) -> None:
    _, passes = planned(tmp_path, deduplicate, fraction)
    written: set[str] = set()
    for one in passes:
        read = {step.data_folder.path for step in one.steps if type(step).__name__ == "JsonlReader"}
        assert read <= written
        written |= {step.output_folder.path for step in one.steps if isinstance(step, DocumentWriter)}
    last = {"none": "length", "exact": "exact", "minhash": "near"}[deduplicate]
    assert read == {str(Work(tmp_path / "work").documents(last))}, "the last pass reads what the last step left"


@pytest.mark.parametrize("deduplicate", ["none", "exact", "minhash"])
def test_what_is_held_out_is_nominated_of_what_all_steps_left(tmp_path: Path, deduplicate: str) -> None:
    """Nominated before deduplication, a copy of a training document could be held out."""
    _, passes = planned(tmp_path, deduplicate, 0.1)
    nominating = [one for one in passes if any(isinstance(step, NominateHeldOut) for step in one.steps)]
    assert len(nominating) == 1 and nominating[0].tasks == 3
    final = [one for one in passes if any(isinstance(step, DocumentWriter) for step in one.steps)][-1]
    assert nominating == [final]
    assert not any(
        isinstance(step, NominateHeldOut) for one in planned(tmp_path, deduplicate, 0.0)[1] for step in one.steps
    )
