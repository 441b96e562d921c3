"""A part of a result leaves the figures and the notes of the others as they are."""

import json
import sys
from pathlib import Path

import pytest

from tools.benchmarks import recording


def test_parts_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["script.py", "--part", "x"])
    for part, metrics, notes in (
        ("saves", {"seconds": 2.0, "ratio": 0.00012345}, "twice"),
        ("kills", {"kills": 20}, "by hand"),
        ("saves", {"seconds": 3.0}, "three times"),
    ):
        path = recording.record_part("checkpoints", part, metrics, ("torch",), notes)
    content = json.loads(path.read_text())
    assert content["metrics"] == {"seconds": 3.0, "ratio": 0.0001234, "kills": 20}
    date = content["date"]
    assert content["notes"].splitlines() == [
        f"kills ({date}, python script.py --part x): by hand",
        f"saves ({date}, python script.py --part x): three times",
    ]
