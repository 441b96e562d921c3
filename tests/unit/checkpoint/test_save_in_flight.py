"""How ranks agree that a save is done, has failed or takes too long; on two ranks, whose disks are real ones."""

import contextlib
import os
import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from megatron_redone.checkpoint import save_in_flight
from megatron_redone.checkpoint.rank_part import RankState
from megatron_redone.checkpoint.rectangles import Rectangle
from megatron_redone.checkpoint.save_in_flight import SaveInFlight
from megatron_redone.checkpoint.values import whole
from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.distributed import start_context
from tests.helpers.ranks import run_on_ranks


def part(content: Any = None) -> RankState:
    """A tensor of a megabyte of this rank's own, and an object."""
    key = f"weight{dist.get_rank() if dist.is_initialized() else 0}"
    place = (Rectangle(key=key, full_shape=(1 << 18,), offsets=(0,), sizes=(1 << 18,)),)
    return RankState(values=[whole(place, torch.ones(1 << 18))], objects={f"{key}/shard_0_1": content})


class Late:
    """An object that is not there yet: who writes it waits."""

    def __init__(self) -> None:
        self.arrives = threading.Event()

    def __reduce__(self) -> Any:
        self.arrives.wait(60)
        return list, ()


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Writing past it fails with EFBIG, in the middle of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def saves(folder: Path) -> dict[str, Any]:
    """On a rank: what becomes of saves of which the second rank spoils some."""
    start_context(ParallelConfig(), Device.cpu)
    is_second, found = dist.get_rank() == 1, {}
    commits: list[str] = []

    def begin(name: str, content: Any = None, seconds: float = 60.0) -> SaveInFlight:
        if not is_second:
            (folder / name).mkdir()
        dist.barrier()
        return SaveInFlight(
            part(content), folder / name, lambda blocks: commits.append(f"{name} {len(blocks)}"), seconds
        )

    late = Late()
    save = begin("late", late if is_second else None)
    found["looks"] = [save.look() for _ in range(3)] + [bool(commits)]
    late.arrives.set()
    save.wait()
    found["late"] = save.problem

    with largest_file(500_000) if is_second else contextlib.nullcontext():
        save = begin("cut")
        save.wait()
    found["cut"] = save.problem

    save = begin("vanished", late := Late())
    if not is_second:
        while len(list((folder / "vanished").iterdir())) < 2:
            time.sleep(0.01)
        (folder / "vanished").rename(folder / "elsewhere")
    dist.barrier()
    late.arrives.set()
    save.wait()
    found["vanished"] = save.problem

    hanging = Late()
    save = begin("hangs", hanging if is_second else None, seconds=0.5)
    save.wait()
    found["hangs"], found["still"] = save.problem, save.hangs()
    hanging.arrives.set()
    while save.hangs():
        time.sleep(0.01)
    found["commits"] = commits
    return found


@pytest.mark.distributed
def test_all_ranks_agree_on_what_became_of_a_save(tmp_path: Path) -> None:
    main, second = run_on_ranks(2, saves, tmp_path)
    assert main.pop("commits") == ["late 2"] and second.pop("commits") == []
    assert main == second
    assert main["looks"] == [False] * 4 and main["late"] is None
    assert main["cut"] == f"{os.strerror(27)}; rank 1" and main["vanished"] == f"{os.strerror(2)}; rank 0"
    assert main["hangs"] == "it was not on the disk after 0.5 s; rank 1" and main["still"]


@pytest.mark.parametrize("commits", [True, False])
def test_a_save_that_ends_while_the_ranks_agree_that_it_is_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commits: bool
) -> None:
    late, may_commit = Late(), threading.Event()

    def commit(_: Any) -> None:
        may_commit.wait(60)

    save = SaveInFlight(part(None if commits else late), tmp_path, commit, seconds=0.2)
    agree = save_in_flight.largest
    if commits:
        while not save._is_joining:
            save.look(0.05)
    time.sleep(0.3)

    def agree_late(own: int) -> int:
        late.arrives.set()
        may_commit.set()
        save._work.result()
        return agree(own)

    monkeypatch.setattr(save_in_flight, "largest", agree_late)
    assert save.look()
    assert save.problem == (None if commits else "it was not on the disk after 0.2 s; rank 0")


def test_whatever_is_raised_is_a_problem_of_the_save(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Any) -> None:
        raise ZeroDivisionError("by hand")

    save = SaveInFlight(part(), tmp_path, fail)
    save.wait()
    assert save.problem == "ZeroDivisionError: by hand; rank 0" and "Traceback" in caplog.text and save.look()
