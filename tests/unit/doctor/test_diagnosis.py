"""The parts of `redone doctor` that need no training."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from megatron_redone.doctor import diagnosis, self_test, software
from megatron_redone.doctor.machine import Machine, inspect_machine
from megatron_redone.doctor.self_test import SelfTest, Trial, TrialResult
from megatron_redone.doctor.software import State, import_error, inspect_software

MACHINE = Machine(system="x", processor="x", cores=8, usable_cores=8, memory_gb=32, free_memory_gb=30, disk="/",
                  free_disk_gb=100, shared_memory_gb=8, driver="580.1")  # fmt: skip
TORCH = {"cuda_build": "13.0", "cuda": True, "gloo": True, "nccl": "2.27.3", "gpus": []}


def _install(folder: Path, package: str, version: str, module: str | None = None, body: str = "") -> None:
    """A distribution, as pip leaves its metadata."""
    info = folder / f"{package.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    if module is not None:
        path = folder / Path(*module.split("."))
        path.mkdir(parents=True)
        for parent in [path, *path.parents]:
            if parent == folder:
                break
            (parent / "__init__.py").write_text(body if parent == path else "")


def test_software_of_this_environment_is_found() -> None:
    from importlib.metadata import version

    parts = {part.name: part for part in inspect_software()}
    for name in ("torch", "megatron-core", "transformers"):
        assert (parts[name].version, parts[name].state) == (version(name), State.fine)
    assert all(part.state is State.fine for part in parts.values() if part.required)
    assert all(part.remedy for part in parts.values() if part.state is not State.fine)


def test_a_package_whose_import_fails_is_broken_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way Transformer Engine fails when it was built for another torch."""
    body = "raise ImportError('undefined symbol: _ZN3c10')"
    _install(tmp_path, "transformer-engine", "2.11.0", "transformer_engine.pytorch", body)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    part = next(part for part in inspect_software() if part.name == "transformer-engine")
    assert (part.version, part.state, part.required) == ("2.11.0", State.broken, False)
    assert part.remedy == "its import fails: ImportError: undefined symbol: _ZN3c10"


def test_a_version_out_of_range_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _install(tmp_path, "megatron-core", "0.12.0")
    monkeypatch.syspath_prepend(str(tmp_path))
    part = next(part for part in inspect_software() if part.name == "megatron-core")
    assert part.state is State.broken and part.required
    assert "megatron-core" in part.remedy and ">=0.16" in part.remedy
    assert list(diagnosis._software_problems([part])) == [f"megatron-core is broken ({part.remedy})"]


@pytest.mark.slow
def test_an_import_that_hangs_or_crashes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "crashes.py").write_text("import os; os._exit(7)")
    (tmp_path / "hangs.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(software, "_PROBE_SECONDS", 2)
    assert import_error("json") is None
    assert import_error("crashes") == "it ended with code 7"
    assert import_error("hangs") == "no answer within 2 s"


def test_the_machine_is_that_of_the_system() -> None:
    found = inspect_machine()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    said = subprocess.run(["nproc"], capture_output=True, text=True, check=True, env=environment).stdout
    cores = int(said)
    assert found.usable_cores <= cores <= found.cores
    total = int(next(line for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line).split()[1])
    assert 0 < found.free_memory_gb <= found.memory_gb <= total * 1024 / 1e9 + 0.1


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, None),
        ({"gloo": False}, "without gloo"),
        ({"cuda_build": None, "cuda": False}, "torch was built without CUDA"),
        ({"cuda": False}, "torch cannot use it (driver 580.1, torch for CUDA 13.0)"),
        ({"nccl": None}, "without NCCL"),
    ],
)
def test_what_torch_lacks_on_a_machine_with_a_gpu(changes: dict[str, object], problem: str | None) -> None:
    found = list(diagnosis._torch_problems(MACHINE, [], {**TORCH, **changes}))
    assert found == [] if problem is None else len(found) == 1 and problem in found[0]


def test_trials_take_the_gpus_that_are_there() -> None:
    assert [(t.processes, t.device) for t in self_test._trials(0)] == [(1, "cpu"), (2, "cpu")]
    assert [(t.processes, t.device) for t in self_test._trials(1)] == [(1, "cpu"), (2, "cpu"), (1, "cuda")]
    assert [(t.processes, t.device) for t in self_test._trials(8)] == [(1, "cuda"), (2, "cuda")]


def test_losses_that_differ_do_not_pass() -> None:
    def tested(*losses: list[float]) -> SelfTest:
        results = [TrialResult(trial=Trial(processes=1, device="cpu"), losses=one) for one in losses]
        return SelfTest(results=results, seconds=1, difference=self_test._difference(results), tolerance=1e-5)

    assert tested([4.0, 3.0, 2.0], [4.0, 3.0, 2.0 + 1e-6]).passed
    apart = tested([4.0, 3.0, 2.0], [4.0, 3.1, 2.0])
    assert not apart.passed and apart.difference == pytest.approx(0.1 / 3)
    expected = "losses on one process and on two differ by 0.033, more than 1e-05"
    assert list(diagnosis._test_problems(apart)) == [expected]
    assert not tested([4.0, 3.0, 2.0], []).passed


def test_processes_that_give_no_answer_are_ended_and_told() -> None:
    start = time.monotonic()
    tested = self_test.run_self_test(0, timeout=0.2)
    assert time.monotonic() - start < 10 and not tested.passed
    assert {result.error for result in tested.results} == {"no answer in time; do the processes see each other?"}
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "redone-doctor-" not in running


def test_a_process_that_fails_is_quoted(tmp_path: Path) -> None:
    output = tmp_path / "0"
    output.mkdir()
    (output / "0.log").write_text("Traceback ...\nRuntimeError: connection refused\n")
    failing = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"], text=True)
    started = self_test._Started(Trial(processes=1, device="cpu"), output, [failing])
    result = started.result(time.monotonic() + 30)
    assert result.error == "RuntimeError: connection refused" and result.losses == []
