"""Which passes a configuration asks for, and that what one writes the next one reads."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("datatrove")

from megatron_redone.config.curate import CurateConfig, Deduplicate, HeldOutConfig, SourceConfig
from megatron_redone.curation.counting import Counted
from megatron_redone.curation.documents import DocumentReader, DocumentWriter, FinalWriter
from megatron_redone.curation.duplicate_lists import DropListed
from megatron_redone.curation.held_out import ChooseHeldOut
from megatron_redone.curation.passes import funnel_steps, plan_passes
from megatron_redone.curation.post_filter import FilterChain
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
    counted = []
    for step in (step for one in passes for step in one.steps):
        counted += [inner.name for inner in step.steps] if isinstance(step, FilterChain) else []
        counted += [step.name] if isinstance(step, Counted) else []
    assert ["read", *counted] == funnel_steps(asked)


@pytest.mark.parametrize("fraction", [0.0, 0.1])
@pytest.mark.parametrize("deduplicate", ["none", "exact", "minhash"])
def test_documents_are_written_once_before_their_last_form(tmp_path: Path, deduplicate: str, fraction: float) -> None:
    _, passes = planned(tmp_path, deduplicate, fraction)
    steps = [step for one in passes for step in one.steps]
    written = [step.folder for step in steps if isinstance(step, DocumentWriter)]
    read = [step.folder for step in steps if isinstance(step, DocumentReader)]
    assert read == written and len(read) == (0 if (deduplicate, fraction) == ("none", 0.0) else 1)
    assert sum(isinstance(step, FinalWriter) for step in steps) == 1


@pytest.mark.parametrize("deduplicate", ["none", "exact", "minhash"])
def test_what_is_held_out_is_chosen_of_what_all_steps_left(tmp_path: Path, deduplicate: str) -> None:
    """Chosen before deduplication, a copy of a training document could be held out."""
    _, passes = planned(tmp_path, deduplicate, 0.1)
    [choosing] = [one for one in passes if any(isinstance(step, ChooseHeldOut) for step in one.steps)]
    assert choosing is passes[-2] and choosing.tasks == 1
    [choose] = choosing.steps
    listed = {
        step.found
        for one in passes
        for step in one.steps
        for step in [getattr(step, "step", step)]
        if isinstance(step, DropListed)
    }
    assert listed <= set(choose.gone)  # type: ignore[attr-defined]
    assert len(listed) == {"none": 0, "exact": 1, "minhash": 2}[deduplicate]
