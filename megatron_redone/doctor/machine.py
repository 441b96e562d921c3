"""What the machine has: cores, memory, disk."""

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine.

    Attributes:
        system: Its operating system.
        processor: The processor's name.
        cores: Of the machine.
        usable_cores: That this process may run on, a container's limit counted.
        memory_gb: Of the machine, or a container's limit where that is less. Gigabytes of 10^9 bytes.
        free_memory_gb: Of that, what programs can still get.
        disk: The working directory.
        free_disk_gb: There.
        shared_memory_gb: Free in /dev/shm, by which NCCL and data workers exchange; None where there is none.
        driver: NVIDIA's driver, None where there is none.
    """

    system: str
    processor: str
    cores: int
    usable_cores: float
    memory_gb: float
    free_memory_gb: float
    disk: str
    free_disk_gb: float
    shared_memory_gb: float | None
    driver: str | None


def inspect_machine() -> Machine:
    """Looks at this machine."""
    memory = psutil.virtual_memory()
    limit = _cgroup_limit("memory.max") or memory.total
    shared = Path("/dev/shm")
    return Machine(
        system=f"{platform.system()} {platform.release()}",
        processor=_processor(),
        cores=os.cpu_count() or 1,
        usable_cores=_usable_cores(),
        memory_gb=round(min(memory.total, limit) / 1e9, 1),
        free_memory_gb=round(min(memory.available, limit) / 1e9, 1),
        disk=str(Path.cwd()),
        free_disk_gb=round(shutil.disk_usage(".").free / 1e9, 1),
        shared_memory_gb=round(shutil.disk_usage(shared).free / 1e9, 1) if shared.is_dir() else None,
        driver=_driver(),
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _usable_cores() -> float:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_cores()
    return allowed if quota is None else min(allowed, quota)


def _cgroup_cores() -> float | None:
    """Cores that a container may use at once, None without a limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) / int(period)


def _cgroup_limit(name: str) -> int | None:
    try:
        text = (Path("/sys/fs/cgroup") / name).read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _driver() -> str | None:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.split("\n")[0].strip() or None if done.returncode == 0 else None
