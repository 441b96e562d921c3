"""Fills a configuration dataclass: its defaults, then a YAML file, then `a.b=c` overrides.

OmegaConf merges and converts; the checks around it exist so that a mistake is told in one line
that names the key and the nearest spelling, rather than by the library's exception.
"""

import difflib
import os
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from megatron_redone.config.schema import describe_keys, field_types, is_list, nested_schema
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
    layers = [_read_file(file)] if file is not None else []
    layers += [_read_override(text) for text in overrides]
    for layer in layers:
        _check_keys(schema, schema, layer, "")
        try:
            merged = OmegaConf.merge(merged, OmegaConf.create(layer))
        except OmegaConfBaseException as error:
            raise UserError(_one_line(schema, error)) from None
    _check_complete(schema, merged)
    return _build(schema, merged, "")


def to_yaml(config: Any) -> str:
    """A configuration as YAML that `load_config` reads back to the same values."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


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
    if isinstance(content, ListConfig):
        raise UserError(f"{file}: expected 'key: value' pairs at the top, found a list")
    return _plain(content)


def _read_override(text: str) -> dict[str, Any]:
    if "=" not in text or text.startswith("="):
        raise UserError(f"'{text}': an override has the form key=value, for example a.b=c")
    try:
        return _plain(OmegaConf.from_dotlist([text]))
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise UserError(f"'{text}': {' '.join(str(error).split())}") from None


def _plain(node: Any) -> dict[str, Any]:
    content = OmegaConf.to_container(node, resolve=False)
    assert isinstance(content, dict)
    return {str(name): value for name, value in content.items()}


def _check_keys(root: type, schema: type, layer: dict[str, Any], prefix: str) -> None:
    """Refuses unknown keys, and turns a single value given for a list key into a list."""
    annotations = field_types(schema)
    for name, value in layer.items():
        if name not in annotations:
            raise UserError(f"{prefix}{name}: unknown key{_suggestion(root, annotations, name)}")
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
    for name, annotation in field_types(schema).items():
        values[name] = _build_value(annotation, _resolve(node, name, path), f"{path}{name}")
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
