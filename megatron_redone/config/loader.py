"""Fills a configuration dataclass: its defaults, then a YAML file, then `a.b=c` overrides.

OmegaConf merges and converts; the checks around it exist so that a mistake is told in one line
that names the key and the nearest spelling, rather than by the library's exception.
"""

import dataclasses
import difflib
import os
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from megatron_redone.config.field import facts_of, out_of_range
from megatron_redone.config.references import NOT_A_REFERENCE, check_references, escaped, refuse_resolvers
from megatron_redone.config.schema import describe_keys, field_types, is_list, is_mapping, nested_schema, plain
from megatron_redone.errors import UserError

T = TypeVar("T")


def load_config(schema: type[T], file: str | None = None, overrides: Sequence[str] = ()) -> T:
    """Builds and validates a configuration.

    Args:
        schema: A frozen dataclass whose fields are declared with `key`.
        file: A YAML file, or None where the overrides give every required key.
        overrides: `a.b=c` strings; the value is read as YAML.

    Raises:
        UserError: for a missing file, an unknown key, a wrong type, a missing required key, or a value
            that the dataclass itself refuses.
    """
    merged = _defaults(schema)
    layers = [] if file is None else [(f"{file}: ", _read_file(file))]
    layers += [("", _read_override(text)) for text in overrides]
    for where, layer in layers:
        merged = _merge(schema, merged, layer, where)
    check_references(merged, layers)
    _check_complete(schema, merged)
    return _build(schema, merged, "")


def to_yaml(config: Any) -> str:
    """A configuration as YAML that `load_config` reads back to the same values."""
    return OmegaConf.to_yaml(OmegaConf.create(escaped(plain(config))))


def flat_values(text: str) -> dict[str, Any]:
    """The values in a YAML text by their dotted keys; a list is one value."""
    return flat(_plain(OmegaConf.create(text)))


def flat(values: dict[str, Any]) -> dict[str, Any]:
    """Nested values by their dotted keys; a list is one value."""

    def walk(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
        if not isinstance(node, dict):
            yield prefix, node
            return
        for name, value in node.items():
            yield from walk(value, f"{prefix}.{name}" if prefix else str(name))

    return dict(walk(values, ""))


def _read_file(file: str) -> dict[str, Any]:
    if not os.path.isfile(file):
        raise UserError(f"{file}: no such configuration file")
    try:
        content = OmegaConf.load(file)
    except yaml.YAMLError as error:
        raise UserError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except OmegaConfBaseException as error:
        raise UserError(f"{file}: {error.full_key}: {NOT_A_REFERENCE}") from None
    except RecursionError:
        raise UserError(f"{file}: nested too deeply") from None
    except AssertionError:  # OmegaConf's own, for a text that holds YAML again
        raise UserError(f"{file}: expected 'key: value' pairs at the top, found a single value") from None
    except OSError as error:  # without a number: OmegaConf's own, for a single value
        found = "a single value" if error.strerror is None else f"nothing: it cannot be read ({error.strerror})"
        raise UserError(f"{file}: expected 'key: value' pairs at the top, found {found}") from None
    if isinstance(content, ListConfig):
        raise UserError(f"{file}: expected 'key: value' pairs at the top, found a list")
    return _plain(content)


def _read_override(text: str) -> dict[str, Any]:
    if "=" not in text or text.startswith("="):
        raise UserError(f"'{text}': an override has the form key=value, for example a.b=c")
    try:
        return _plain(OmegaConf.from_dotlist([text]))
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key or text}: {NOT_A_REFERENCE}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{text.partition('=')[0]}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UserError(f"{text.partition('=')[0]}: nested too deeply") from None


def _plain(node: Any) -> dict[str, Any]:
    content = OmegaConf.to_container(node, resolve=False)
    assert isinstance(content, dict)
    return {str(name): value for name, value in content.items()}


def _merge(schema: type, merged: Any, layer: dict[str, Any], where: str) -> Any:
    """Lays a file or an override over what is there; `where` begins the line that tells of a mistake."""
    try:
        refuse_resolvers(layer)
        _check_keys(schema, schema, layer, "")
        return OmegaConf.merge(merged, OmegaConf.create(layer))
    except UserError as error:
        raise UserError(f"{where}{error}") from None
    except OmegaConfBaseException as error:
        raise UserError(f"{where}{_one_line(schema, error)}") from None
    except RecursionError:
        raise UserError(f"{where}{', '.join(layer)}: nested too deeply") from None


def _check_keys(root: type, schema: type, layer: dict[str, Any], prefix: str) -> None:
    """Refuses unknown keys, and turns a single value given for a list key into a list."""
    annotations = field_types(schema)
    for name, value in layer.items():
        if name not in annotations:
            raise UserError(f"{prefix}{name}: {_what_is_wrong(root, schema, str(name))}")
        if is_mapping(annotations[name]) and not isinstance(value, dict):
            raise UserError(f"{prefix}{name}: expected a section of keys, got {value!r}")
        inner, many = nested_schema(annotations[name]), is_list(annotations[name])
        if many and value is not None and not isinstance(value, list):
            layer[name] = value = [value]
        if inner is None or value is None:
            continue
        for index, element in enumerate(value if many else [value]):
            where = f"{prefix}{name}[{index}]" if many else f"{prefix}{name}"
            if not isinstance(element, dict):
                raise UserError(f"{where}: expected a section of keys, got {element!r}")
            _check_keys(root, inner, element, where + ".")


def _what_is_wrong(root: type, schema: type, name: str) -> str:
    """Of a name that is no key: its new name, or the nearest one."""
    renamed = next((field.name for field in dataclasses.fields(schema) if facts_of(field).formerly == name), None)
    if renamed is not None:
        return f"is called {renamed} now"
    return f"unknown key{_suggestion(root, field_types(schema), name)}"


def _suggestion(root: type, siblings: dict[str, Any], name: str) -> str:
    near = difflib.get_close_matches(name, siblings, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    everywhere = [row.name for row in describe_keys(root)]
    same_leaf = [full for full in everywhere if full.rsplit(".", 1)[-1] == name]
    if same_leaf:
        return f"; did you mean '{same_leaf[0]}'?"
    near = difflib.get_close_matches(name, everywhere, n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else f"; known here: {', '.join(siblings)}"


def _one_line(schema: type, error: OmegaConfBaseException) -> str:
    full_key = error.full_key or "configuration"
    text = str(error.msg or error).splitlines()[0]
    expected = next((row.type for row in describe_keys(schema) if row.name == full_key), None)
    value = getattr(error, "value", None)
    if expected is None:
        return f"{full_key}: {text}"
    got = f"got {value!r}" if value is not None else text
    return f"{full_key}: expected {expected}, {got}"


def _check_complete(schema: type, merged: Any) -> None:
    missing = sorted(OmegaConf.missing_keys(merged))
    if not missing:
        return
    order = [row.name for row in describe_keys(schema)]
    missing.sort(key=lambda name: order.index(name) if name in order else len(order))
    plural = "keys are" if len(missing) > 1 else "key is"
    raise UserError(f"required {plural} missing: {', '.join(missing)} (give them in the file or as {missing[0]}=...)")


def _defaults(schema: type) -> DictConfig:
    """A schema's defaults, with required sections opened so that their missing keys can be named."""
    node = _writable(OmegaConf.structured(schema))
    for name, annotation in field_types(schema).items():
        if nested_schema(annotation) is annotation and OmegaConf.is_missing(node, name):
            node[name] = _defaults(annotation)
    return node


def _writable(node: Any) -> Any:
    """Frozen dataclasses arrive read-only, which would forbid merging a file over their defaults."""
    if isinstance(node, (DictConfig, ListConfig)):
        OmegaConf.set_readonly(node, False)
        children = node._content.values() if isinstance(node._content, dict) else node._content or []
        for child in children:  # type: ignore[union-attr]
            _writable(child)
    return node


def _build(schema: type[T], node: Any, path: str) -> T:
    """Makes the dataclasses from the inside out, so that a refused value is named by its full key."""
    values = {}
    facts = {field.name: facts_of(field) for field in dataclasses.fields(schema)}  # type: ignore[arg-type]
    for name, annotation in field_types(schema).items():
        values[name] = _build_value(annotation, _resolve(node, name, path), f"{path}{name}")
        mistake = out_of_range(facts[name], values[name])
        if mistake is not None:
            raise UserError(f"{path}{name}: {mistake}")
    try:
        return schema(**values)
    except UserError as error:
        raise UserError(f"{path}{error}") from None


def _resolve(node: Any, name: str, path: str) -> Any:
    try:
        return node[name]
    except OmegaConfBaseException as error:
        raise UserError(f"{path}{name}: {str(error).splitlines()[0]}") from None


def _build_value(annotation: Any, value: Any, path: str) -> Any:
    inner = nested_schema(annotation)
    if isinstance(value, ListConfig):
        items = [value[i] for i in range(len(value))]
        return [_build(inner, item, f"{path}[{i}].") for i, item in enumerate(items)] if inner else items
    if isinstance(value, DictConfig) and inner is not None:
        return _build(inner, value, path + ".")
    return OmegaConf.to_container(value, resolve=True) if isinstance(value, DictConfig) else value
