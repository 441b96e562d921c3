"""Curation on a Ray of this machine: the same documents and counts as without it, whoever is killed on the way."""

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.helpers.curation_runs import curate_command, fingerprints, write_corpus

pytest.importorskip("datatrove")
pytest.importorskip("ray", reason="Ray is not installed; pip install 'megatron_redone[ray]'")

pytestmark = [pytest.mark.distributed, pytest.mark.slow]


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("posts") / "posts.jsonl"
    write_corpus(file, 12_000)
    return file


@pytest.fixture(scope="module")
def here(posts: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the local executor makes of them."""
    output = tmp_path_factory.mktemp("here") / "out"
    subprocess.run(curate_command(posts, output, "workers=1"), check=True, timeout=120, capture_output=True)
    return fingerprints(output)


def start(posts: Path, output: Path, *keys: str) -> subprocess.Popen[str]:
    command = curate_command(posts, output, "executor=ray", "workers=2", *keys)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def end(run: subprocess.Popen[str]) -> str:
    said, _ = run.communicate(timeout=180)
    assert run.returncode == 0, said
    return said


def worker_of(run: subprocess.Popen[str]) -> psutil.Process:
    """A process of Ray's that is at work on a task."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and run.poll() is None:
        for process in psutil.Process(run.pid).children(recursive=True):
            try:
                if process.cmdline()[:1] == ["ray::_run_task"]:
                    return process
            except psutil.Error:
                continue
        time.sleep(0.02)
    raise AssertionError(run.communicate()[0])


def test_a_killed_worker_changes_nothing(posts: Path, here: dict[str, str], tmp_path: Path) -> None:
    run = start(posts, tmp_path / "out")
    worker_of(run).kill()
    said = end(run)
    assert fingerprints(tmp_path / "out") == here, said
    assert "datatrove" not in said and "Started a local Ray" not in said


def test_a_killed_run_goes_on(posts: Path, here: dict[str, str], tmp_path: Path) -> None:
    """With any executor. Ray's processes end with the run; its agents, which only watch, end a minute later."""
    run = start(posts, tmp_path / "out")
    worker_of(run)
    processes = [one for one in psutil.Process(run.pid).children(recursive=True) if "Agent" not in one.name()]
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert not alive
    assert (tmp_path / "out/work").is_dir()
    command = curate_command(posts, tmp_path / "out", "executor=local", "workers=1")
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    assert fingerprints(tmp_path / "out") == here


def test_a_mistake_is_told_in_one_line(posts: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text("no record\n" * 40)
    run = start(bad, tmp_path / "out", "ray.memory_gb=0.1")
    said, _ = run.communicate(timeout=120)
    assert run.returncode == 2 and "40 of 40 records are invalid, more than max_invalid=0.01" in said
    assert "Traceback" not in said
    run = start(posts, tmp_path / "out2", "ray.memory_gb=100000")
    said, _ = run.communicate(timeout=120)
    assert run.returncode == 2 and "ray.memory_gb: no machine has 100000 GB for a task" in said


def test_a_ray_that_is_not_there(posts: Path, tmp_path: Path) -> None:
    run = start(posts, tmp_path / "out", "ray.address=127.0.0.1:1")
    said, _ = run.communicate(timeout=120)
    assert run.returncode == 2 and "ray.address: no Ray 127.0.0.1:1" in said and "Traceback" not in said, said
