"""A user's mistake is one line and exit code 2, also where another process made it."""

import pickle

import pytest

from megatron_redone import cli
from megatron_redone.errors import UserError, one_line


def test_a_users_mistake_is_told_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tokenize", "--config", "no/such/file.yaml"]) == 2
    said = capsys.readouterr().err.strip()
    assert "no/such/file.yaml" in said and len(said.splitlines()) == 1 and "Traceback" not in said


def test_what_a_mistake_quotes_breaks_no_line_and_fills_no_screen() -> None:
    assert one_line(UserError("a\nkey\t: unknown")) == "a key : unknown"
    long = one_line(UserError("file: " + "[" * 100_000 + ": nested too deeply"))
    assert len(long) <= 2000 and long.startswith("file: [") and long.endswith(": nested too deeply")


def test_it_comes_out_of_another_process_as_it_was() -> None:
    """Workers raise it too; for those who use the package from Python it is a ValueError."""
    error = pickle.loads(pickle.dumps(UserError("what is wrong; how to mend it")))
    assert type(error) is UserError and isinstance(error, ValueError) and str(error) == "what is wrong; how to mend it"
