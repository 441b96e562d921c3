"""Which work of an interrupted run is gone on with, and which is cleared away."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("datatrove")

from megatron_redone.stages import curate


def begun(work: Path) -> Path:
    """A folder in which the plan `a` has been begun."""
    work.mkdir()
    curate._open_work(work, "a", is_over=False)
    (work / "documents").mkdir()
    (work / "documents/00000").write_text("x")
    return work


@pytest.mark.parametrize(("plan", "is_over", "stays"), [("a", False, True), ("b", False, False), ("a", True, False)])
def test_only_work_of_the_same_plan_stays(tmp_path: Path, plan: str, is_over: bool, stays: bool) -> None:
    work = begun(tmp_path / "work")
    curate._open_work(work, plan, is_over)
    assert (work / "documents/00000").exists() is stays and curate._is_planned(work, plan)


def test_a_kill_while_work_is_cleared_leaves_no_plan_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = begun(tmp_path / "work")

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        patched.setattr(Path, "iterdir", lambda folder: iter(sorted(folder.glob("*"))))  # folders before the plan
        with pytest.raises(KeyboardInterrupt):
            curate._open_work(work, "b", is_over=False)
    assert not curate._is_planned(work, "a")
    curate._open_work(work, "a", is_over=False)
    assert not (work / "documents").exists()


@pytest.mark.parametrize(("is_same", "stay"), [(True, True), (False, False)])
def test_jobs_of_another_plan_or_executor_are_taken_back(
    tmp_path: Path, is_same: bool, stay: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, script in {
        "squeue": f"[ -e {tmp_path}/cancelled ] || echo Priority",
        "scancel": f'echo "$@" > {tmp_path}/cancelled',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    work = begun(tmp_path / "work")
    assert not curate._jobs_are_at_it(work, is_same)
    (work / "submitted.json").write_text(json.dumps({"jobs": ["4", "5"]}))
    assert curate._jobs_are_at_it(work, is_same) is stay
    assert (work / "submitted.json").exists() is stay
    assert (tmp_path / "cancelled").exists() is not stay
