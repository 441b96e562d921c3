"""Answers that cost something, kept on the disk as they come in, so that an interrupted run asks only for the rest."""

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson


class AnswerCache:
    """An append-only file of `{"key": ..., "answer": ...}`.

    A key is a hash of all that decides an answer, so the file may outlive a change of settings. Threads may share it.
    """

    def __init__(self, path: Path) -> None:
        """Reads what an earlier run left; a line that was cut off by its end is dropped."""
        self._answers: dict[str, Any] = {}
        whole = 0
        for line in path.read_bytes().splitlines(keepends=True) if path.is_file() else []:
            try:
                entry = orjson.loads(line)
            except orjson.JSONDecodeError:
                break
            if not line.endswith(b"\n"):
                break
            self._answers[entry["key"]] = entry["answer"]
            whole += len(line)
        self._lock = threading.Lock()
        self._stream = open(path, "ab")
        self._stream.truncate(whole)

    def get(self, key: str) -> Any:
        """The answer under a key, or None."""
        return self._answers.get(key)

    def put(self, key: str, answer: Any) -> None:
        """Keeps an answer; it is on the disk when this returns."""
        with self._lock:
            self._answers[key] = answer
            self._stream.write(orjson.dumps({"key": key, "answer": answer}) + b"\n")
            self._stream.flush()
            os.fsync(self._stream.fileno())

    def __enter__(self) -> "AnswerCache":
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._stream.close()
