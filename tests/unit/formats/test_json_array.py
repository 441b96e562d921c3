"""Elements of one JSON array, wherever reading is cut."""

import io
import json

import pytest

from megatron_redone.errors import UserError
from megatron_redone.formats.json_array import read_array


class Dribble(io.BytesIO):
    """Gives some bytes at a time, whatever is asked for: every element is cut somewhere."""

    def __init__(self, content: bytes, step: int) -> None:
        super().__init__(content)
        self._step = step

    def read(self, size: int | None = -1) -> bytes:
        return super().read(self._step)


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_an_array_read_in_crumbs_is_the_array(step: int) -> None:
    values = [{"a": 'ä[{"\\]}', "b": [1, {"c": None}]}, {}, 12, 1.5, "x", "好\n🎈", [], True]
    for indent in (None, 2):
        content = b"\xef\xbb\xbf \n" + json.dumps(values, ensure_ascii=False, indent=indent).encode() + b"\n"
        found = list(read_array(Dribble(content, step), "x"))
        assert [json.loads(element) for _, element in found] == values
        lines = content.split(b"\n")
        assert all(element.split(b"\n")[0] in lines[line - 1] for line, element in found)
        assert [line for line, _ in found][:3] == ([2, 2, 2] if indent is None else [3, 12, 13])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"a": 1}', "line 1: it ends too early"),
        (b'[\n{"a": 1},\n{"a": ', "line 3: the element that begins there is not valid"),
        (b'[{"a": 1} {"a": 2}]', "',' was expected, not '{'"),
        (b'[{"a": 1},\n]', "line 2: the element that begins there is not valid"),
        (b"[", "ends too early"),
    ],
)
def test_a_damaged_array_is_told_with_its_line(content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        list(read_array(io.BytesIO(content), "x"))


def test_bytes_that_are_no_utf8_are_handed_on() -> None:
    assert [e for _, e in read_array(io.BytesIO(b'["\xff", "ok"]'), "x")] == [b'"\xff"', b'"ok"']
