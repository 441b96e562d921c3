"""What every type of Arrow is read as; the oracle of most is that pyarrow made it of the same Python objects."""

import datetime
import uuid
from decimal import Decimal
from typing import Any

import pytest

from megatron_redone.formats.arrow_values import UnreadableValue, holds_text, null_fields, read_each

pa = pytest.importorskip("pyarrow")
pc = pytest.importorskip("pyarrow.compute")

TEXTS = ["é", None, "", "面好吃"]
NUMBERS = [1, None, 3]
ARGUMENTS = [{"city": "Rye"}, None, {"a": 2, "b": [{"c": 1}, {}]}, {}]


def read(values: Any, kind: Any = None) -> list[Any]:
    array = values if isinstance(values, pa.Array) else pa.array(values, kind)
    found = read_each(array, "c", 1 << 20)
    # A part of an array is read as that part.
    assert [str(v) for v in read_each(array.slice(1), "c", 1 << 20)] == [str(v) for v in found[1:]]
    return found


@pytest.mark.parametrize("kind", ["string", "large_string", "string_view", "binary", "large_binary", "binary_view"])
def test_text_is_text_however_it_is_stored(kind: str) -> None:
    stored = pa.array(TEXTS, getattr(pa, kind)())
    assert read(stored) == TEXTS and holds_text(stored.type)


@pytest.mark.parametrize("kind", [pa.string(), pa.binary(), pa.large_string()])
def test_dictionaries_and_runs_are_their_values(kind: Any) -> None:
    assert read(TEXTS * 3, pa.dictionary(pa.int8(), kind)) == TEXTS * 3
    assert read(pc.run_end_encode(pa.array(["a", "a", None], kind))) == ["a", "a", None]
    assert holds_text(pa.dictionary(pa.int8(), kind)) and not holds_text(pa.dictionary(pa.int8(), pa.int8()))


@pytest.mark.parametrize("kind", ["string", "large_string", "string_view", "binary", "binary_view"])
def test_bytes_that_are_not_utf_8_are_one_values_fault(kind: str) -> None:
    fits = {"large_string": pa.large_binary(), "string_view": pa.binary_view(), "binary_view": pa.binary_view()}.get(
        kind, pa.binary()
    )
    stored = pa.array([b"ab", None, b"\xff\xfe", "é".encode()], fits)
    stored = pa.Array.from_buffers(getattr(pa, kind)(), 4, stored.buffers())
    found = read(stored)
    assert [found[0], found[1], found[3]] == ["ab", None, "é"]
    assert isinstance(found[2], UnreadableValue) and found[2].excerpt == b"\xff\xfe"
    assert str(found[2]) == "column 'c': invalid UTF-8"


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (NUMBERS, pa.int8()),
        ([2**64 - 1, None], pa.uint64()),
        ([True, None, False], pa.bool_()),
        ([None, None], pa.null()),
        ([0.1, None, 1e300], pa.float64()),
        ([0.1, None, 2.5e-10, 1e30, 3.0], pa.float32()),
        ([[1, None], None, [], [3]], pa.list_(pa.int8())),
        ([[1, None], None, [], [3]], pa.large_list(pa.int8())),
        ([[1, None], None, [], [3]], pa.list_view(pa.int8())),
        ([[1, None], None, [2, 3]], pa.list_(pa.int8(), 2)),
        (ARGUMENTS, None),
    ],
)
def test_what_json_has_too_comes_back(values: list[Any], kind: Any) -> None:
    assert read(values, kind) == values


def test_decimals_are_numbers() -> None:
    assert read([Decimal("1.50"), None]) == [1.5, None]
    assert read([Decimal(10**29), None]) == [10**29, None] and isinstance(read([Decimal(5)])[0], int)


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
def test_times_are_iso_8601(unit: str) -> None:
    fraction = {"s": 0, "ms": 120_000, "us": 120_050}[unit]
    times = [datetime.datetime(2024, 1, 2, 3, 4, 5, fraction), None, datetime.datetime(1, 1, 1)]
    found = read(times, pa.timestamp(unit))
    assert [text and datetime.datetime.fromisoformat(text) for text in found] == times
    assert found[2] == "0001-01-01T00:00:00"


def test_times_with_a_zone_are_in_utc_and_nanoseconds_stay() -> None:
    assert read([1700000000123456789, 0], pa.timestamp("ns", "Europe/Berlin")) == [
        "2023-11-14T22:13:20.123456789Z",
        "1970-01-01T00:00:00Z",
    ]
    assert str(read([2**62], pa.timestamp("s"))[0]) == "column 'c': a time out of range"


def test_dates_and_times_of_a_day() -> None:
    assert read([datetime.date(2024, 2, 29), None]) == ["2024-02-29", None]
    assert read([86_400_000], pa.date64()) == ["1970-01-02"]
    assert read([datetime.time(1, 2, 3, 4000)]) == ["01:02:03.004"]


def test_null_in_a_struct_is_a_key_that_is_not_there() -> None:
    # What Arrow makes of both, and pandas, whose table has the keys of all.
    filled = pa.array([{"tz": "CET", "city": None}, {"tz": None, "city": "Rye"}, {"tz": None, "city": None}])
    assert read(filled) == [{"tz": "CET"}, {"city": "Rye"}, {}]
    nested = pa.array([[{"f": {"x": 1, "y": None}}, None], [{"f": None}]])
    assert read(nested) == [[{"f": {"x": 1}}, None], [{}]]


def test_null_in_lists_and_maps_was_written() -> None:
    assert read([{"enum": ["a", None]}]) == [{"enum": ["a", None]}]
    kind = pa.map_(pa.string(), pa.struct([("x", pa.int8()), ("y", pa.int8())]))
    assert read([[("a", {"x": 1}), ("b", None)], None, [], [("é", {"y": 2})]], kind) == [
        {"a": {"x": 1}, "b": None},
        None,
        {},
        {"é": {"y": 2}},
    ]
    assert read([[(b"a", "x")]], pa.map_(pa.binary(), pa.string())) == [{"a": "x"}]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()])
def test_numbers_that_are_none_are_not_read(number: float, kind: Any) -> None:
    first, second = read([1.5, number], kind)
    assert first == 1.5 and str(second) == "column 'c': NaN or an infinity, which JSON does not have"


@pytest.mark.parametrize(
    ("values", "kind", "reason"),
    [
        ([1], pa.duration("s"), "column 'c' holds duration[s], which is not read"),
        ([[(1, 2)]], pa.map_(pa.int8(), pa.int8()), "column 'c' is a map whose keys are int8, not text"),
        ([{"a": [{"b": 1}]}], pa.struct([("a", pa.list_(pa.struct([("b", pa.duration("s"))])))]), "column 'c.a.b'"),
    ],
)
def test_what_has_no_reading_is_refused_by_name(values: list[Any], kind: Any, reason: str) -> None:
    [found] = read(values, kind)
    assert isinstance(found, UnreadableValue) and str(found).startswith(reason)
    assert read([None], kind) == [None], "a null is one of any type"


def test_two_fields_of_a_name_are_refused() -> None:
    twice = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    assert str(read(twice)[0]) == "column 'c' has two fields of the same name"


def test_extension_types_are_what_they_are_stored_as() -> None:
    number = uuid.UUID(int=5)
    assert read(pa.array([number.bytes, None], pa.uuid())) == [str(number), None]
    as_json = pa.ExtensionArray.from_storage(pa.json_(pa.string()), pa.array(['{"a": 1}', None]))
    assert read(as_json) == ['{"a": 1}', None] and holds_text(as_json.type) and holds_text(pa.uuid())


def test_fields_that_can_hold_nothing_but_null_are_found() -> None:
    kind = pa.array([[{"a": None, "b": {"c": None, "d": 1}}]]).type
    assert null_fields(kind, "tools") == ["tools.a", "tools.b.c"] and not null_fields(pa.null(), "x")


def test_values_that_are_too_large_are_not_read_the_others_are() -> None:
    values = [{"a": ["x" * 10]}, {"a": ["x" * 500] * 2, "b": 1}, None, {"b": 2}]
    found = read_each(pa.array(values), "", 800)
    assert [found[0], found[2], found[3]] == [values[0], None, values[3]]
    assert str(found[1]) == "a record of more than 0.000762939 MB"
