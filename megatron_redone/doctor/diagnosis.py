"""One page on this machine, and a training step on two processes to see that it works."""

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from megatron_redone.config.doctor import DoctorConfig
from megatron_redone.config.schema import plain
from megatron_redone.doctor.machine import Machine, inspect_machine
from megatron_redone.doctor.self_test import SelfTest, run_self_test
from megatron_redone.doctor.software import Part, State, import_error, inspect_software, probe_torch
from megatron_redone.errors import UserError

_SIGNS = {State.fine: "[green]✓[/green]", State.missing: "[dim]–[/dim]", State.broken: "[red]✗[/red]"}
_LEAST_DISK_GB = 20  # a checkpoint of 1 B parameters with its optimizer state
_LEAST_SHARED_GB = 1.0


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Everything that was found.

    Attributes:
        machine: Cores, memory, disk.
        software: What is there and what is missing.
        torch: What torch sees; None where it cannot be asked.
        self_test: None where it was not run.
        problems: What keeps this project from running, and how to mend it.
        advice: What would make it run better.
    """

    machine: Machine
    software: list[Part]
    torch: dict[str, Any] | None
    self_test: SelfTest | None
    problems: list[str]
    advice: list[str]


def report_diagnosis(config: DoctorConfig) -> None:
    """Examines and prints.

    Raises:
        UserError: something that is required is missing or broken; the page is printed before.
    """
    console = Console(stderr=True)
    with console.status("looking at the machine, and training on two processes ..."):
        diagnosis = diagnose(config)
    if config.json:
        print(json.dumps(plain(diagnosis), indent=2, ensure_ascii=False))
    else:
        _print(diagnosis)
    if diagnosis.problems:
        raise UserError(f"not ready: {'; '.join(diagnosis.problems)}")


def diagnose(config: DoctorConfig) -> Diagnosis:
    """Examines everything, several parts at once."""
    machine = inspect_machine()
    with ThreadPoolExecutor() as pool:
        software, seen = pool.submit(inspect_software), pool.submit(probe_torch)
        gpus = len((seen.result() or {"gpus": []})["gpus"]) if machine.driver is not None else 0
        tested = run_self_test(gpus, config.timeout_seconds) if config.self_test else None
        parts, torch = software.result(), seen.result()
    return Diagnosis(
        machine=machine,
        software=parts,
        torch=torch,
        self_test=tested,
        problems=[*_software_problems(parts), *_torch_problems(machine, parts, torch), *_test_problems(tested)],
        advice=list(_advice(machine, parts, torch)),
    )


def _software_problems(parts: list[Part]) -> Iterator[str]:
    for part in parts:
        if part.required and part.state is not State.fine:
            yield f"{part.name} is {part.state.name} ({part.remedy})"


def _torch_problems(machine: Machine, parts: list[Part], torch: dict[str, Any] | None) -> Iterator[str]:
    if torch is None:
        if any(part.name == "torch" and part.state is State.fine for part in parts):
            yield f"torch cannot be imported: {import_error('torch')}"
        return
    if not torch["gloo"]:
        yield "torch was built without gloo, which processes on CPU and checkpoints need (install an official build)"
    if machine.driver is not None and torch["cuda_build"] is None:
        yield "there is a GPU, but torch was built without CUDA (install a CUDA build of torch)"
    elif machine.driver is not None and not torch["cuda"]:
        yield f"there is a GPU, but torch cannot use it (driver {machine.driver}, torch for CUDA {torch['cuda_build']})"
    elif torch["cuda"] and torch["nccl"] is None:
        yield "torch was built without NCCL, by which GPUs talk to each other (install an official CUDA build)"


def _test_problems(tested: SelfTest | None) -> Iterator[str]:
    if tested is None or tested.passed:
        return
    for result in tested.results:
        if result.error:
            yield f"training failed on {result.trial.title}: {result.error}"
    if tested.difference is not None:
        yield f"losses on one process and on two differ by {tested.difference:.2g}, more than {tested.tolerance:g}"


def _advice(machine: Machine, parts: list[Part], torch: dict[str, Any] | None) -> Iterator[str]:
    on_cuda = bool(torch and torch["cuda"])
    for part in parts:
        if part.required or part.state is State.fine or (part.name in ("transformer-engine", "apex") and not on_cuda):
            continue
        yield f"{part.name} ({part.brings}): {part.remedy}"
    if torch is not None and not on_cuda and machine.driver is None:
        yield "no GPU: everything runs on the CPU, small models only; Transformer Engine and Apex need CUDA"
    if on_cuda and not any(shutil.which(compiler) for compiler in ("cc", "gcc", "clang")):
        yield "no C compiler: fused kernels are built at the first step by Triton, which needs one and Python's headers"
    if machine.free_disk_gb < _LEAST_DISK_GB:
        yield f"only {machine.free_disk_gb:g} GB of disk are free at {machine.disk}; checkpoints need room"
    if on_cuda and machine.shared_memory_gb is not None and machine.shared_memory_gb < _LEAST_SHARED_GB:
        yield f"/dev/shm has {machine.shared_memory_gb:g} GB free; NCCL needs more (docker run --shm-size=8g)"


def _print(diagnosis: Diagnosis) -> None:
    console = Console(highlight=False)
    _print_machine(console, diagnosis.machine, diagnosis.torch)
    _print_software(console, diagnosis.software)
    if diagnosis.self_test is not None:
        _print_self_test(console, diagnosis.self_test)
    for title, lines in (("What would help", diagnosis.advice), ("What is broken", diagnosis.problems)):
        if lines:
            console.print(f"\n[bold]{title}[/bold]")
            for line in lines:
                console.print(f"  • {escape(line)}")
    if not diagnosis.problems:
        console.print("\n[green]✓[/green] Ready.")


def _print_machine(console: Console, machine: Machine, torch: dict[str, Any] | None) -> None:
    console.print("[bold]Machine[/bold]")
    table = _rows()
    cores = f"{machine.cores}" + (f", {machine.usable_cores:g} usable" if machine.usable_cores < machine.cores else "")
    table.add_row("system", machine.system)
    table.add_row("processor", f"{machine.processor}, {cores} cores")
    table.add_row("memory", f"{machine.memory_gb:g} GB, {machine.free_memory_gb:g} GB free")
    table.add_row("disk", f"{machine.free_disk_gb:g} GB free at {machine.disk}")
    for gpu in (torch or {}).get("gpus", []):
        table.add_row("GPU", f"{gpu['name']}, {gpu['memory_gb']:g} GB, compute capability {gpu['capability']}")
    if machine.driver is not None:
        table.add_row("driver", machine.driver)
    elif not (torch or {}).get("gpus"):
        table.add_row("GPU", "none")
    if torch is not None:
        table.add_row("processes talk by", _backends(torch))
    console.print(table)


def _backends(torch: dict[str, Any]) -> str:
    names = ["gloo (CPU)"] if torch["gloo"] else []
    if torch["nccl"] is not None:
        names.append(f"NCCL {torch['nccl']} (CUDA {torch['cuda_build']})")
    return ", ".join(names) or "nothing"


def _print_software(console: Console, parts: list[Part]) -> None:
    console.print("\n[bold]Software[/bold]")
    table = _rows()
    for part in parts:
        state = part.version or "missing"
        shown = state if part.state is State.fine else f"{state}  [dim]{escape(part.remedy)}[/dim]"
        brings = f"  [dim]{escape(part.brings)}[/dim]" if part.brings and part.state is State.fine else ""
        if part.state is State.missing and part.brings:
            shown = f"missing  [dim]would bring {escape(part.brings)}[/dim]"
        table.add_row(part.name, f"{_SIGNS[part.state]} {shown}{brings}")
    console.print(table)


def _print_self_test(console: Console, tested: SelfTest) -> None:
    console.print(f"\n[bold]Self-test[/bold] [dim]three steps of a tiny model, {tested.seconds:g} s in all[/dim]")
    table = _rows()
    for result in tested.results:
        sign = _SIGNS[State.broken if result.error else State.fine]
        table.add_row(result.trial.title, f"{sign} {escape(result.error) or 'loss ' + _losses(result.losses)}")
    if tested.difference is not None:
        sign = _SIGNS[State.fine if tested.passed else State.broken]
        table.add_row(
            "largest difference", f"{sign} {tested.difference:.1e} of the loss (at most {tested.tolerance:g})"
        )
    console.print(table)


def _losses(losses: list[float]) -> str:
    return ", ".join(f"{loss:.6f}" for loss in losses)


def _rows() -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column()
    return table
