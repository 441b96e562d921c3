"""Every key of every stage: a change of its value changes the work hash, or the key says that it decides nothing."""

import dataclasses
import enum
import re
import types
from collections.abc import Iterator
from typing import Any, Union, get_args, get_origin

import pytest

from megatron_redone.config.field import facts_of
from megatron_redone.config.schema import field_types, is_list, is_mapping, nested_schema, work_hash
from megatron_redone.config.stage_table import STAGES


def value_of(annotation: Any, other: bool) -> Any:
    """One of two different values of a type."""
    inner = nested_schema(annotation)
    if is_list(annotation):
        return [build(inner) if inner else value_of(get_args(annotation)[0], other)]
    if inner is not None:
        return build(inner)
    if is_mapping(annotation):
        return {"a": other}
    if get_origin(annotation) in (Union, types.UnionType):
        return value_of(get_args(annotation)[0], other)
    if issubclass(annotation, enum.Enum):
        return list(annotation)[int(other)]
    return annotation(other) if annotation is not str else ("x", "y")[other]


def build(schema: type, **changed: Any) -> Any:
    """A configuration with a value for every key, its checks left out: they are of no concern to the hash."""
    config = object.__new__(schema)
    for name, annotation in field_types(schema).items():
        object.__setattr__(config, name, changed.get(name, value_of(annotation, False)))
    return config


def variants(schema: type, prefix: str, decides: bool) -> Iterator[tuple[str, bool, Any]]:
    """Every key by its path, whether it says that it decides, and a configuration in which it alone differs."""
    annotations = field_types(schema)
    for field in dataclasses.fields(schema):
        facts, annotation = facts_of(field), annotations[field.name]
        counts = decides and facts.decides and not facts.writes
        inner = nested_schema(annotation)
        if inner is None:
            yield prefix + field.name, counts, build(schema, **{field.name: value_of(annotation, True)})
            continue
        for path, inner_counts, value in variants(inner, f"{prefix}{field.name}.", counts):
            yield path, inner_counts, build(schema, **{field.name: [value] if is_list(annotation) else value})


@pytest.mark.parametrize("stage", STAGES)
def test_a_key_decides_or_says_that_it_does_not(stage: str) -> None:
    schema = STAGES[stage].config_class()
    before = work_hash(build(schema))
    keys = list(variants(schema, "", True))
    assert keys
    assert [(path, work_hash(config) != before) for path, _, config in keys] == [(path, says) for path, says, _ in keys]


# Keys whose help mentions files although their values name none.
MENTION_FILES = {"name", "id_key", "best_metric", "keys"}
FILES = re.compile(r"\b(files?|folders?|directory|checkpoint|path|datasets?|json)\b")


def texts(schema: type) -> Iterator[dataclasses.Field]:
    """Every key that holds text, or a list of texts."""
    annotations = field_types(schema)
    for field in dataclasses.fields(schema):
        annotation = annotations[field.name]
        inner = nested_schema(annotation)
        if inner is not None:
            yield from texts(inner)
        elif annotation is str or str in get_args(annotation):
            yield field


@pytest.mark.parametrize("stage", [name for name, stage in STAGES.items() if stage.of_pipeline])
def test_a_key_that_names_files_says_that_it_reads_or_writes_them(stage: str) -> None:
    fields = [field for field in texts(STAGES[stage].config_class()) if field.name not in MENTION_FILES]
    silent = [f.name for f in fields if FILES.search(facts_of(f).help) and not facts_of(f).reads | facts_of(f).writes]
    assert fields and silent == []
