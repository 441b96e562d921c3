"""`redone doctor` as a user runs it."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.helpers import commands

pytestmark = pytest.mark.distributed


def doctor(*keys: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return commands.redone("doctor", *keys, **environment)


def test_two_processes_train_as_one() -> None:
    done = doctor("json=true")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["problems"] == []
    one, two, *_ = found["self_test"]["results"]
    assert (one["trial"]["processes"], two["trial"]["processes"]) == (1, 2)
    assert len(one["losses"]) == 3 and one["losses"] == pytest.approx(two["losses"], rel=1e-5)
    assert found["torch"]["gloo"] and found["machine"]["cores"] == os.cpu_count()


def test_the_page_is_for_people() -> None:
    done = doctor("self_test=false")
    assert done.returncode == 0, done.stderr
    for part in ("Machine", "Software", "megatron-core", "Ready."):
        assert part in done.stdout
    assert "Self-test" not in done.stdout and "Traceback" not in done.stdout + done.stderr


def test_a_broken_requirement_gives_an_exit_code_and_one_line(tmp_path: Path) -> None:
    info = tmp_path / "megatron_core-0.12.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: megatron-core\nVersion: 0.12.0\n")
    done = doctor("self_test=false", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2 and "What is broken" in done.stdout
    assert done.stderr.startswith("redone doctor: not ready: megatron-core is broken") and done.stderr.count("\n") == 1
