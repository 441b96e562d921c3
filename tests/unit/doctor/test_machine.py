"""The machine, as the system itself describes it."""

import os
import subprocess
from pathlib import Path

import pytest

from megatron_redone.doctor import machine
from megatron_redone.doctor.machine import inspect_machine


def test_the_machine_is_that_of_the_system() -> None:
    found = inspect_machine()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    said = subprocess.run(["nproc"], capture_output=True, text=True, check=True, env=environment).stdout
    cores = int(said)
    assert found.usable_cores <= cores <= found.cores
    total = int(next(line for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line).split()[1])
    assert 0 < found.free_memory_gb <= found.memory_gb <= total * 1024 / 1e9 + 0.1


def test_a_containers_limits_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of a control group of one and a half cores and a gigabyte."""

    def moved(path: str) -> Path:
        return tmp_path if path == "/sys/fs/cgroup" else tmp_path / "cpu.max" if "cpu.max" in path else Path(path)

    monkeypatch.setattr(machine, "Path", moved)
    moved.cwd = Path.cwd  # type: ignore[attr-defined]
    free = inspect_machine()
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "memory.max").write_text("1000000000\n")
    limited = inspect_machine()
    assert limited.usable_cores == min(1.5, free.usable_cores) and limited.memory_gb == 1.0 < free.memory_gb
    assert limited.free_memory_gb <= 1.0
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert inspect_machine().usable_cores == free.usable_cores and inspect_machine().memory_gb == free.memory_gb
