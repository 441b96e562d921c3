"""A short form of tools/reliability/fuzz.py, and that it would notice."""

from pathlib import Path
from random import Random

import pytest

from tools.reliability import fuzz


@pytest.mark.slow
def test_what_is_spoilt_is_taken_or_refused_in_one_line() -> None:
    counts = fuzz.fuzz(180, 7, list(fuzz.KINDS))
    assert counts["taken"] and counts["refused"] and counts["taken"] + counts["refused"] == counts["cases"] == 180
    assert (counts["tracebacks"], counts["hangs"], counts["executed"]) == (0, 0, 0)


def test_other_exceptions_and_what_takes_too_long_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def attempt(error: Exception) -> str:
        def fails(_: Random) -> None:
            raise error

        return fuzz._outcome(fails, Random(0), "case")

    assert attempt(KeyError("x")) == "tracebacks"
    assert attempt(fuzz.UserError("one line")) == "refused"
    monkeypatch.setattr(fuzz, "_SECONDS", 1)
    assert fuzz._outcome(lambda _: __import__("time").sleep(5), Random(0), "case") == "hangs"


def test_a_pickle_that_is_read_by_pickle_itself_runs(tmp_path: Path) -> None:
    """The cases hold code that would run."""
    import pickle

    pickle.loads(pickle.dumps(fuzz._Calls(tmp_path / "executed")))
    assert (tmp_path / "executed").is_dir()
