"""What Slurm says of jobs decides whether a run is submitted once more; a real one is asked in tests/distributed."""

from pathlib import Path

import pytest

pytest.importorskip("datatrove")

from megatron_redone.curation.slurm_executor import are_on_their_way
from megatron_redone.errors import UserError


def squeue(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "squeue").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo None; echo Dependency", True),
        ("echo Priority", True),
        ("echo None; echo DependencyNeverSatisfied", False),
        ("", False),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", False),
    ],
)
def test_jobs_are_on_their_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, expected: bool) -> None:
    squeue(tmp_path, script, monkeypatch)
    assert are_on_their_way(["7", "8"]) is expected


def test_a_controller_that_does_not_answer_is_no_job_that_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squeue(tmp_path, "echo 'Unable to contact slurm controller' >&2; exit 1", monkeypatch)
    with pytest.raises(UserError, match="squeue cannot tell of job 7: Unable to contact slurm controller"):
        are_on_their_way(["7"])
