"""Elements of one JSON array, wherever reading is cut."""

import io
import json

import pytest

from megatron_redone.errors import UserError
from megatron_redone.formats.json_array import read_array

MOST = 1 << 20


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
        found = list(read_array(Dribble(content, step), "x", MOST))
        assert [json.loads(element) for _, element in found] == values
        lines = content.split(b"\n")
        assert all(element.split(b"\n")[0] in lines[line - 1] for line, element in found)
        assert [line for line, _ in found][:3] == ([2, 2, 2] if indent is None else [3, 12, 13])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"a": 1}', "line 1: it ends too early"),
        (b'[\n{"a": 1},\n{"a": ', "line 3: the element that begins there does not end"),
        (b'[\n{"a": "\n\n}, {"a": "b"}, {"a": "\\', "line 2: the element that begins there does not end"),
        (b'[{"a": 1} {"a": 2}]', "',' was expected, not '{'"),
        (b'[{"a": 1},\n]', "line 2: an element was expected"),
        (b"[1, , 2]", "an element was expected"),
        (b"[1}, 2]", "',' was expected, not '}'"),
        (b'[1]\n{"text": "lost"}', "line 2: something follows after the end of the array"),
        (b"{}", "'\\[' was expected, not '{'"),
        (b"[", "ends too early"),
    ],
)
def test_a_damaged_array_is_told_with_its_line(content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        list(read_array(io.BytesIO(content), "x", MOST))


def test_bytes_that_are_no_utf8_are_handed_on() -> None:
    assert [e for _, e in read_array(io.BytesIO(b'["\xff", "ok"]'), "x", MOST)] == [b'"\xff"', b'"ok"']


@pytest.mark.parametrize("step", [1, 5, 1000])
def test_an_element_that_is_no_json_is_the_callers_to_see(step: int) -> None:
    elements = [b'{"a": NaN}', b"{'a': 1}", b'{"a" "b"}', b"tru", b'"\\ud83d"', b"[" * 5000 + b"]" * 5000, b'"\\\\"']
    found = read_array(Dribble(b"[" + b" , ".join(elements) + b" ]", step), "x", MOST)
    assert [element for _, element in found] == elements


@pytest.mark.parametrize("step", [1, 7, 5000])
def test_an_element_that_is_too_large_is_cut_and_the_next_one_is_whole(step: int) -> None:
    content = json.dumps([{"a": "b" * 3000}, {"c": 1}, ["d\n"] * 900, 2], indent=1).encode()
    found = list(read_array(Dribble(content, step), "x", 20))
    assert [len(element) for _, element in found] == [21, 13, 21, 1]
    assert [line for line, _ in found] == [2, 5, 8, 910]
