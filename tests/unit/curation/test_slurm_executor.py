"""What Slurm says of jobs decides whether a run is submitted once more; a real one is asked in tests/distributed."""

from pathlib import Path

import pytest

pytest.importorskip("datatrove")

from megatron_redone.config.curate import SlurmConfig
from megatron_redone.curation.executors import Pass
from megatron_redone.curation.slurm_executor import are_on_their_way, submit_slurm
from megatron_redone.errors import UserError


def command(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def squeue(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command(folder, "squeue", script)
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


def test_jobs_cannot_be_asked_for_where_there_is_no_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"jobs were submitted before \(7\).*remove work/submitted\.json"):
        are_on_their_way(["7"])


PASSES = [Pass("read", [], 3), Pass("verify pairs", [], 2500), Pass("finish", [], 1)]
SLURM = SlurmConfig(partition="main", tasks_per_job=2)


def test_every_pass_is_one_array_and_waits_for_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The jobs behind an array wait for that one alone, so a pass must not be cut into several."""
    sbatch(tmp_path, "7", monkeypatch)
    assert submit_slurm(PASSES, tmp_path / "work", SLURM, 0) == ["1", "2", "3"]
    lines = (tmp_path / "asked").read_text().splitlines()
    assert [" ".join(word for word in line.split() if "array" in word or "dependency" in word) for line in lines] == [
        "--array=0-1",
        "--dependency=afterok:1 --array=0-833",  # three tasks a job instead of two
        "--dependency=afterok:2 --array=0-0",
    ]


def test_a_pass_that_is_refused_takes_back_those_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sbatch(tmp_path, "2", monkeypatch)
    with pytest.raises(UserError, match=r"sbatch has refused a pass.*2 jobs of the passes before it were taken back"):
        submit_slurm(PASSES, tmp_path / "work", SLURM, 0)
    assert (tmp_path / "cancelled").read_text().split() == ["1", "2"]


def sbatch(folder: Path, most: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands of a Slurm that takes so many jobs, and has each until it is cancelled."""
    command(
        folder,
        "sbatch",
        f"""n=$(($(cat {folder}/jobs 2>/dev/null || echo 0) + 1))
[ $n -le {most} ] || {{ echo 'QOSMaxSubmitJobPerUserLimit' >&2; exit 1; }}
echo $n > {folder}/jobs
for last in "$@"; do :; done
echo "$@" $(grep -o -e '--array=[0-9-]*' "$last") >> {folder}/asked
echo Submitted batch job $n""",
    )
    command(folder, "squeue", f"[ -e {folder}/cancelled ] || echo Priority")
    command(folder, "scancel", f'echo "$@" > {folder}/cancelled')
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
