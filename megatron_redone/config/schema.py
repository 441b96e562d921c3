"""What can be read off a configuration dataclass: its keys, their types, and a hash of its values."""

import dataclasses
import enum
import json
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from megatron_redone.config.field import KeyFacts, facts_of, range_text
from megatron_redone.hashing import short_hash


@dataclass(frozen=True)
class KeyDescription:
    """One row of `redone STAGE --help`.

    Attributes:
        decides: Whether the value decides what comes out, so that a finished result of another one is stale.
    """

    name: str
    type: str
    default: str
    help: str
    range: str = ""
    decides: bool = True


def field_types(schema: type) -> dict[str, Any]:
    """The annotations of a configuration dataclass, resolved."""
    return get_type_hints(schema)


def nested_schema(annotation: Any) -> type | None:
    """The dataclass that a field holds (directly, optionally, or as list elements), or None."""
    candidates = [annotation, *get_args(annotation)]
    for candidate in candidates:
        if isinstance(candidate, type) and dataclasses.is_dataclass(candidate):
            return candidate
    return None


def is_list(annotation: Any) -> bool:
    """Whether a field holds a list."""
    return get_origin(annotation) is list


def is_mapping(annotation: Any) -> bool:
    """Whether a field holds keys of the user's own."""
    return get_origin(annotation) is dict


def describe_keys(schema: type, prefix: str = "", decides: bool = True) -> Iterator[KeyDescription]:
    """Every dotted key of a configuration with its type, default and explanation, in order.

    Args:
        schema: A configuration dataclass.
        prefix: Of every name.
        decides: Whether the section itself decides what comes out; where it does not, none of its keys does.
    """
    annotations = field_types(schema)
    for field in dataclasses.fields(schema):
        annotation, facts = annotations[field.name], facts_of(field)
        inner, counts = nested_schema(annotation), decides and facts.decides
        if inner is not None and not is_list(annotation) and annotation is inner:
            yield from describe_keys(inner, f"{prefix}{field.name}.", counts)
            continue
        yield KeyDescription(
            name=prefix + field.name,
            type=type_name(annotation),
            default=_default_text(field),
            help=facts.help,
            range=range_text(facts),
            decides=counts,
        )
        if inner is not None:
            marker = "[]" if is_list(annotation) else ""
            yield from describe_keys(inner, f"{prefix}{field.name}{marker}.", counts)


def type_name(annotation: Any) -> str:
    """A type as a person would write it: `int`, `list of str`, `cosine|linear`, `str or null`."""
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return "|".join(annotation.__members__)
    if is_list(annotation):
        return "list of " + type_name(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join(type_name(arg) for arg in get_args(annotation))
    if annotation is type(None):
        return "null"
    if nested_schema(annotation) is annotation:
        return "section"
    return getattr(annotation, "__name__", str(annotation))


def _default_text(field: dataclasses.Field) -> str:
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
        return json.dumps(default) if isinstance(default, list) else ""
    if field.default is dataclasses.MISSING:
        return "required"
    if isinstance(field.default, enum.Enum):
        return field.default.name
    return "null" if field.default is None else str(field.default)


@dataclass(frozen=True)
class FileRead:
    """Something that a configuration says is read.

    Attributes:
        path: A file, a folder, a dataset's prefix, a glob or a URL.
        or_hub: Whether it may as well be a name on the Hugging Face hub.
    """

    path: str
    or_hub: bool = False


def files_read(config: Any) -> list[FileRead]:
    """What the values of keys with `reads=True` name, each once."""
    found = [FileRead(path, facts.or_hub) for facts, path in _texts(config) if facts.reads]
    return list(dict.fromkeys(found))


def files_written(config: Any) -> list[str]:
    """What the values of keys with `writes=True` name, each once; where none does, what lies beside what is read."""
    texts = list(_texts(config))
    written = [path for facts, path in texts if facts.writes]
    beside = [path + facts.writes_beside for facts, path in texts if facts.writes_beside is not None]
    return list(dict.fromkeys(written or beside))


def plain(config: Any) -> dict[str, Any]:
    """A configuration's values as JSON holds them: an enumeration's member by its name."""
    return dataclasses.asdict(config, dict_factory=lambda items: {name: _plain_value(value) for name, value in items})


def deciding_values(config: Any) -> dict[str, Any]:
    """The values that decide what comes out, nested as the configuration is; where it goes to does not."""
    return {
        field.name: _deciding(getattr(config, field.name))
        for field in dataclasses.fields(config)
        if facts_of(field).decides and not facts_of(field).writes
    }


def work_hash(config: Any, *facts: Any) -> str:
    """Sixteen hexadecimal digits over everything that decides what comes out.

    Args:
        config: A configuration; its values that decide nothing are left out.
        facts: What else decides, as JSON holds it: the files that are read, the fingerprint of a tokenizer.
    """
    return short_hash([deciding_values(config), *facts])


def config_hash(config: Any) -> str:
    """Sixteen hexadecimal digits that change when any value of a configuration changes."""
    return short_hash(plain(config))


def _texts(config: Any) -> Iterator[tuple[KeyFacts, str]]:
    """Every text of a configuration, also those in lists, with the facts of its key."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        for element in value if isinstance(value, list) else [value]:
            if dataclasses.is_dataclass(element):
                yield from _texts(element)
            elif isinstance(element, str):
                yield facts_of(field), element


def _deciding(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return deciding_values(value)
    if isinstance(value, list):
        return [_deciding(element) for element in value]
    return _plain_value(value)


def _plain_value(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain_value(element) for element in value]
    return value.name if isinstance(value, enum.Enum) else value
