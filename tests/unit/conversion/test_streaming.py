"""Items arrive in order, made ahead, with their errors; early write-back changes no byte."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from megatron_redone.conversion.streaming import EarlyWriteBack, read_ahead


def test_items_keep_their_order() -> None:
    assert list(read_ahead(range(100))) == list(range(100)) and list(read_ahead([])) == []


def test_two_are_made_ahead_by_another_thread() -> None:
    made: list[tuple[int, str]] = []
    third = threading.Event()

    def items() -> Iterator[int]:
        for number in range(5):
            made.append((number, threading.current_thread().name))
            if number == 2:
                third.set()
            yield number

    stream = read_ahead(items())
    assert next(stream) == 0
    assert third.wait(10), "while the first is used, the third is made"
    assert threading.current_thread().name not in {name for _, name in made}
    assert [*stream] == [1, 2, 3, 4]


def test_an_error_arrives_where_its_item_would() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    stream = read_ahead(items())
    assert next(stream) == 1
    with pytest.raises(OSError, match="gone"):
        next(stream)


def test_what_is_written_back_early_is_what_was_written(tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as stream:
        write_back = EarlyWriteBack(stream)
        for number in range(50):
            stream.write(bytes([number]) * 5000)
            write_back.step()
            assert (tmp_path / "file").stat().st_size == 5000 * (number + 1)
    assert (tmp_path / "file").read_bytes() == b"".join(bytes([n]) * 5000 for n in range(50))
