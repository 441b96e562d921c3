"""What a pipeline finds stale: every file that any key of any stage names, and every file that a stage has left."""

import copy
import dataclasses
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from megatron_redone.config.field import facts_of
from megatron_redone.config.pipeline import PipelineConfig, PipelineEntry
from megatron_redone.config.schema import field_types, is_list, nested_schema
from megatron_redone.config.stage_table import STAGES
from megatron_redone.pipeline.markers import write_marker
from megatron_redone.pipeline.plan import PlannedStage, make_plan, missing_inputs
from megatron_redone.pipeline.stage_files import is_there, written_files

RECORDS = {"input": ["x.jsonl"]}
CHATS = {"sources": [{"name": "a", **RECORDS}], "output_dir": "out", "tokenizer": {"path": "x"}}
BLEND = {"blend": [{"path": "x"}], "validation": [{"path": "y"}], "seq_length": 8}
RUN = {"output_dir": "out", "init_from": "x", "data": BLEND, "training": {"global_batch_size": 1, "train_steps": 1}}
PAIRS = {"name": "p", "source": RECORDS, "responses": ["a", "b"]}
# What each stage needs, with one element in every list of sections.
SETTINGS: dict[str, dict[str, Any]] = {
    "curate": {"sources": [{"name": "a", **RECORDS}], "output_dir": "out", "tokenizer": {"path": "x"}},
    "select-quality": {"sources": [{"name": "a", **RECORDS}], "output_dir": "out", "perplexity": {"model": "x"}},
    "prepare-sft": CHATS,
    "prepare-preferences": CHATS,
    "tokenize": {**RECORDS, "output_prefix": "out", "tokenizer": {"path": "x"}},
    "pretrain": RUN,
    "sft": RUN,
    "score-reference": {"init_from": "x", "data": [{"path": "x"}], "output_dir": "out"},
    "dpo": RUN,
    "import-hf": {"hf": "x", "output": "out"},
    "export-hf": {"checkpoint": "x", "output": "out"},
    "verify": {"hf": "x"},
    "evaluate": {
        "output": "out",
        "models": [{"path": "x"}],
        "held_out": [{"path": "x", "group": "social"}],
        "preferences": [{"path": "x"}],
        "conversations": [{"path": "x", "capability": "general"}],
        "benchmarks": [{"task": "mine"}],
    },
    "optimize-mixture": {
        "output_dir": "out",
        "sources": [{"path": "x"}, {"path": "y"}],
        "target": [{"path": "z"}],
        "proxy": {"init_from": "x", "seq_length": 8, "train_tokens": 64, "global_batch_size": 1},
        "train_tokens": 64,
    },
    "report": {"output": "out", "runs": ["x"]},
    "estimate-online": {
        "output": "out",
        "post_view_search": [{"path": "x"}],
        "exposure": [{"path": "y", "baseline": "old"}],
    },
    "build-preferences": {
        "output_dir": "out",
        "annotated": [{**PAIRS, "labels": {"annotators": ["c"]}}],
        "judged": [{**PAIRS, "name": "j", "human": "p", "scores": ["x"]}],
        "objective": [{"name": "o", "source": RECORDS, "candidates": ["x"], "policy": {"path": "x"}}],
        "structural": [{"name": "s", "source": RECORDS, "options": {"values": ["yes", "no"]}}],
    },
}
# Keys that stand in the place of others: the section, and the key that is left out for them.
INSTEAD = {("data", "blend_file"): ("data", "blend"), ("dataset",): ("hf",), ("export",): ("hf",),
           ("classifier", "file"): ("perplexity", "model")}  # fmt: skip
# Keys that count beside others only.
BESIDE = {("approved_file",): {"mode": "apply"}}
STAGES_OF_PIPELINES = [name for name, stage in STAGES.items() if stage.of_pipeline]


def keys_that_read(schema: type, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The place of every key with `reads`; of a list of sections, in its first."""
    annotations = field_types(schema)
    for field in dataclasses.fields(schema):
        annotation, here = annotations[field.name], (*path, field.name)
        inner = nested_schema(annotation)
        if inner is not None:
            yield from keys_that_read(inner, (*here, 0) if is_list(annotation) else here)
        elif facts_of(field).reads:
            yield (*here, 0) if is_list(annotation) else here


def with_value(settings: dict[str, Any], place: tuple[str | int, ...], value: str) -> dict[str, Any]:
    """Settings with a value put at a place; sections and lists on the way are made."""
    settings = {**copy.deepcopy(settings), **BESIDE.get(place, {})}
    node: Any = settings
    for name, following in itertools.pairwise(place):
        empty: Any = [None] if following == 0 else {}
        node = node.setdefault(name, empty) if isinstance(node, dict) else node[name]
    node[place[-1]] = value
    *sections, other = INSTEAD.get(place, ("",))
    node = settings
    for name in sections:
        node = node[name]
    node.pop(other, None)
    return settings


def plan_of(folder: Path, stage: str, settings: dict[str, Any]) -> PlannedStage:
    (folder / "stage.yaml").write_text(json.dumps(settings))
    entry = PipelineEntry(name="it", stage=stage, config="stage.yaml")
    (planned,) = make_plan(PipelineConfig(stages=[entry], work_dir=str(folder), config_dir=str(folder)))
    return planned


def finish(folder: Path, planned: PlannedStage) -> None:
    """Leaves what a pipeline leaves when a stage has come to its end."""
    for path in planned.marker.writes:
        if not is_there(folder, path):
            (folder / path).mkdir(parents=True)
    files = written_files(folder, planned.marker.writes, [])
    (folder / "pipeline").mkdir(exist_ok=True)
    write_marker(folder, "it", dataclasses.replace(planned.marker, files=files, done=True))


READING = [(stage, place) for stage in STAGES_OF_PIPELINES for place in keys_that_read(STAGES[stage].config_class())]


@pytest.mark.parametrize(("stage", "place"), READING, ids=[f"{s}-{'.'.join(map(str, p))}" for s, p in READING])
def test_a_file_that_a_key_names_makes_its_stage_stale_when_it_changes(
    stage: str, place: tuple[str | int, ...], tmp_path: Path
) -> None:
    file = tmp_path / "given" / "file.jsonl"
    file.parent.mkdir()
    file.write_text("before")
    settings = with_value(SETTINGS[stage], place, "given/file.jsonl")
    finish(tmp_path, plan_of(tmp_path, stage, settings))
    assert plan_of(tmp_path, stage, settings).reasons == []
    file.write_text("after it")
    assert plan_of(tmp_path, stage, settings).reasons == ["given/file.jsonl has changed"]


def test_every_stage_of_a_pipeline_has_keys_that_read() -> None:
    assert {stage for stage, _ in READING} == set(STAGES_OF_PIPELINES) == set(SETTINGS)


@pytest.mark.parametrize(
    ("change", "reasons"),
    [({"shard_mb": 17}, ["shard_mb 16 -> 17"]), ({"seed": 5}, ["seed 0 -> 5"]), ({"workers": 9}, [])],
)
def test_a_shuffle_is_stale_when_what_orders_it_changes(
    change: dict[str, Any], reasons: list[str], tmp_path: Path
) -> None:
    (tmp_path / "x.jsonl").write_text("{}")
    settings = {**SETTINGS["tokenize"], "shuffle": True}
    finish(tmp_path, plan_of(tmp_path, "tokenize", settings))
    assert plan_of(tmp_path, "tokenize", {**settings, **change}).reasons == reasons


OUTPUTS = ["out.bin", "out.idx", "out.manifest.json"]


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("damage", ["is not there", "has another size", "has changed"])
def test_a_finished_stage_is_stale_when_a_file_that_it_left_is_damaged(name: str, damage: str, tmp_path: Path) -> None:
    for number, output in enumerate(OUTPUTS):
        (tmp_path / output).write_bytes(b"content" * (number + 1))
    finish(tmp_path, plan_of(tmp_path, "tokenize", SETTINGS["tokenize"]))
    assert plan_of(tmp_path, "tokenize", SETTINGS["tokenize"]).reasons == []
    damage_file(tmp_path / name, damage)
    assert plan_of(tmp_path, "tokenize", SETTINGS["tokenize"]).reasons == [f"{name} {damage}"]


def damage_file(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "is not there":
        path.unlink()
    elif how == "has another size":
        path.write_bytes(content[:-1])
    else:
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        os.utime(path, ns=(0, 1))


def test_what_is_not_there_and_nobody_makes_is_missing(tmp_path: Path) -> None:
    planned = plan_of(tmp_path, "report", {"output": "out", "runs": ["runs/a"]})
    assert planned.is_due and planned.missing == ["runs/a"]
    assert missing_inputs([planned]) == ["runs/a is not there, which is read by it"]
