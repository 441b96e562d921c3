"""Answers survive the end of a run, also one in the middle of a line."""

import threading
from pathlib import Path

import pytest

from megatron_redone.curation.pair_building.answer_cache import AnswerCache

ANSWERS = {"a": [7.0, 4.0], "b": None, "c": "好\nbad", "d": {"reason": "x"}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with AnswerCache(tmp_path / "answers.jsonl") as cache:
        for key, answer in ANSWERS.items():
            cache.put(key, answer)
    return tmp_path / "answers.jsonl"


def test_answers_are_there_again_and_the_last_one_holds(path: Path) -> None:
    with AnswerCache(path) as cache:
        assert {key: cache.get(key) for key in ANSWERS} == ANSWERS and cache.get("e") is None
        cache.put("a", "new")
    with AnswerCache(path) as cache:
        assert cache.get("a") == "new" and cache.get("c") == "好\nbad"


def test_wherever_the_file_was_cut_off_the_whole_lines_before_stay(path: Path) -> None:
    content = path.read_bytes()
    for size in range(len(content) + 1):
        path.write_bytes(content[:size])
        whole = content[:size].count(b"\n")
        with AnswerCache(path) as cache:
            known = [key for key in ANSWERS if cache.get(key) == ANSWERS[key] and ANSWERS[key] is not None]
            assert known == [key for key in list(ANSWERS)[:whole] if ANSWERS[key] is not None]
            cache.put("z", size)
        with AnswerCache(path) as cache:
            assert cache.get("z") == size
        assert path.read_bytes().count(b"\n") == whole + 1


def test_an_answer_is_on_the_disk_before_the_end(tmp_path: Path) -> None:
    with AnswerCache(tmp_path / "a.jsonl") as cache:
        cache.put("a", 1)
        assert (tmp_path / "a.jsonl").read_bytes().endswith(b"\n")


def test_threads_share_it(tmp_path: Path) -> None:
    with AnswerCache(tmp_path / "a.jsonl") as cache:
        threads = [threading.Thread(target=cache.put, args=(str(i), "x" * 5000)) for i in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with AnswerCache(tmp_path / "a.jsonl") as cache:
        assert all(cache.get(str(i)) == "x" * 5000 for i in range(16))
