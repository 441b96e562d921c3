"""What a value of an Arrow type means as a value of JSON: the one reading that columns have.

It is what JSON lines of the same records give:

| Arrow | JSON |
| --- | --- |
| string, large string, string view; dictionaries and runs of them | text |
| binary of any kind (Spark writes text so) | text, if it is UTF-8 |
| integers, booleans | the same |
| floats | a number, of 32 bits the shortest that is the same to them (0.1); NaN and infinities are not read |
| decimals | an integer where the scale is 0, a number otherwise |
| dates, times, timestamps | text in ISO 8601; with a time zone in UTC, ended by `Z` |
| lists of any kind | an array |
| structs | an object, without the fields that are null |
| maps with keys that are text | an object |
| UUIDs | text in the usual form; other extension types are read as what they are stored as |

A struct has the fields of all records of its column, and Arrow fills those that a record does not have with null. So
null in a struct (and in a column of its own) stands for a key that is not there. A null that somebody wrote there
cannot be told from it; in lists and in maps, which Arrow fills with nothing, null stays null.
"""

import itertools
import math
import uuid
from collections.abc import Callable
from typing import Any

from megatron_redone.formats.input_records import InvalidRecordError, too_large
from megatron_redone.formats.json_values import NOT_FINITE


class UnreadableValue(InvalidRecordError):
    """A value without a reading.

    Attributes:
        excerpt: The value, as far as it can be shown.
    """

    def __init__(self, reason: str, excerpt: bytes | str = b"") -> None:
        super().__init__(reason)
        self.excerpt = excerpt.encode(errors="replace") if isinstance(excerpt, str) else excerpt


def read_each(array: Any, path: str, most_bytes: int) -> list[Any]:
    """The values of an array; in the place of one that has no reading the `UnreadableValue` that says why.

    Args:
        array: Of pyarrow.
        path: The column, for reasons; empty for whole rows.
        most_bytes: Of a value; a larger one is not read.
    """
    try:
        if array.nbytes <= most_bytes:
            return read_array(array, path)
    except UnreadableValue:
        pass
    return [_read_one(array.slice(row, 1), path, most_bytes) for row in range(len(array))]


def read_array(array: Any, path: str) -> list[Any]:
    """The values of an array; see `read_each`.

    Raises:
        UnreadableValue: one of them has no reading.
    """
    if array.null_count == len(array):
        return [None] * len(array)
    reader = _READERS.get(_family(array.type))
    if reader is None:
        raise UnreadableValue(f"column '{path}' holds {array.type}, which is not read")
    return reader(array, path)


def holds_text(kind: Any) -> bool:
    """Whether values of a type are read as text."""
    import pyarrow as pa

    if isinstance(kind, pa.BaseExtensionType):
        return isinstance(kind, pa.UuidType) or holds_text(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return holds_text(kind.value_type)
    return _family(kind) in ("text", "binary")


def null_fields(kind: Any, path: str) -> list[str]:
    """The fields of structs that hold nothing but null: somebody wrote those, and they are not read."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return [name for field in kind for name in _null_field(field, f"{path}.{field.name}")]
    if _family(kind) == "list":
        return null_fields(kind.value_type, path)
    return null_fields(kind.item_type, path) if pa.types.is_map(kind) else []


def _null_field(field: Any, path: str) -> list[str]:
    import pyarrow as pa

    return [path] if pa.types.is_null(field.type) else null_fields(field.type, path)


def _read_one(array: Any, path: str, most_bytes: int) -> Any:
    if array.nbytes > most_bytes:
        return UnreadableValue(too_large(most_bytes))
    try:
        return read_array(array, path)[0]
    except UnreadableValue as unreadable:
        return unreadable


def _family(kind: Any) -> str | None:
    """The name of the reader of a type in `_READERS`; None where there is none."""
    import pyarrow as pa

    if isinstance(kind, pa.BaseExtensionType):
        return "uuid" if isinstance(kind, pa.UuidType) else "extension"
    return next((family for family, tests in _FAMILIES.items() if any(getattr(pa.types, t)(kind) for t in tests)), None)


# Names of functions in pyarrow.types, which is imported only where a file needs it.
_FAMILIES = {
    "plain": ("is_boolean", "is_integer"),
    "float": ("is_float64",),
    "short_float": ("is_float16", "is_float32"),
    "decimal": ("is_decimal",),
    "text": ("is_string", "is_large_string", "is_string_view"),
    "binary": ("is_binary", "is_large_binary", "is_binary_view", "is_fixed_size_binary"),
    "time": ("is_timestamp", "is_date", "is_time"),
    "list": ("is_list", "is_large_list", "is_fixed_size_list", "is_list_view", "is_large_list_view"),
    "struct": ("is_struct",),
    "map": ("is_map",),
    "dictionary": ("is_dictionary",),
    "runs": ("is_run_end_encoded",),
}


def _plain(array: Any, _: str) -> list[Any]:
    return array.to_pylist()


def _floats(array: Any, path: str) -> list[Any]:
    numbers = array.to_pylist()
    for number in numbers:
        if number is not None and not math.isfinite(number):
            raise UnreadableValue(f"column '{path}': {NOT_FINITE}", repr(number))
    return numbers


def _short_floats(array: Any, path: str) -> list[Any]:
    import pyarrow as pa

    # Through the shortest text that gives the same 32 bits, which is what writers of JSON put down.
    return _floats(array.cast(pa.float32()).cast(pa.string()).cast(pa.float64()), path)


def _decimals(array: Any, _: str) -> list[Any]:
    number = int if array.type.scale <= 0 else float
    return [None if value is None else number(value) for value in array.to_pylist()]


def _texts(array: Any, path: str) -> list[Any]:
    try:
        return array.to_pylist()
    except UnicodeDecodeError:
        import pyarrow as pa

        return _binaries(array.cast(pa.large_binary()), path)


def _binaries(array: Any, path: str) -> list[Any]:
    return [None if value is None else _decoded(value, path) for value in array.to_pylist()]


def _decoded(value: bytes, path: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise UnreadableValue(f"column '{path}': invalid UTF-8", value) from None


def _times(array: Any, path: str) -> list[Any]:
    import pyarrow as pa

    ending = ""
    if pa.types.is_timestamp(array.type) and array.type.tz is not None:
        array, ending = array.cast(pa.timestamp(array.type.unit)), "Z"
    texts = array.cast(pa.string()).to_pylist()
    return [None if text is None else _iso_8601(text, path) + ending for text in texts]


def _iso_8601(text: str, path: str) -> str:
    """From Arrow's form, which has a space in the middle and zeros at the end."""
    if text.startswith("<"):  # "<value out of range: 4611686018427387904>"
        raise UnreadableValue(f"column '{path}': a time out of range", text)
    whole, point, fraction = text.replace(" ", "T").partition(".")
    return whole + (point + fraction).rstrip("0").rstrip(".")


def _lists(array: Any, path: str) -> list[Any]:
    import pyarrow.compute as pc

    items = iter(read_array(array.flatten(), path))
    lengths = pc.call_function("list_value_length", [array]).to_pylist()
    return [None if length is None else list(itertools.islice(items, length)) for length in lengths]


def _structs(array: Any, path: str) -> list[Any]:
    names = [field.name for field in array.type]
    if len(set(names)) < len(names):
        raise UnreadableValue(f"column '{path}' has two fields of the same name")
    fields = [
        read_array(values, f"{path}.{name}" if path else name)
        for name, values in zip(names, array.flatten(), strict=True)
    ]
    rows = zip(*fields, strict=True) if fields else itertools.repeat(())
    is_there = array.is_valid().to_pylist()
    return [
        {name: value for name, value in zip(names, row, strict=True) if value is not None} if there else None
        for there, row in zip(is_there, rows, strict=bool(fields))
    ]


def _maps(array: Any, path: str) -> list[Any]:
    import pyarrow as pa

    if not holds_text(array.type.key_type):
        raise UnreadableValue(f"column '{path}' is a map whose keys are {array.type.key_type}, not text")
    pair = pa.struct([("key", array.type.key_type), ("value", array.type.item_type)])
    as_lists = array.cast(pa.list_(pair))
    keys, values = (read_array(part, path) for part in as_lists.flatten().flatten())
    pairs = zip(keys, values, strict=True)
    lengths = as_lists.value_lengths().to_pylist()
    return [None if length is None else dict(itertools.islice(pairs, length)) for length in lengths]


def _dictionaries(array: Any, path: str) -> list[Any]:
    return read_array(array.dictionary.take(array.indices), path)


def _runs(array: Any, path: str) -> list[Any]:
    import pyarrow.compute as pc

    return read_array(pc.call_function("run_end_decode", [array]), path)


def _uuids(array: Any, _: str) -> list[Any]:
    return [None if value is None else str(uuid.UUID(bytes=value)) for value in array.storage.to_pylist()]


def _stored(array: Any, path: str) -> list[Any]:
    return read_array(array.storage, path)


_READERS: dict[str | None, Callable[[Any, str], list[Any]]] = {
    "plain": _plain,
    "float": _floats,
    "short_float": _short_floats,
    "decimal": _decimals,
    "text": _texts,
    "binary": _binaries,
    "time": _times,
    "list": _lists,
    "struct": _structs,
    "map": _maps,
    "dictionary": _dictionaries,
    "runs": _runs,
    "uuid": _uuids,
    "extension": _stored,
}
