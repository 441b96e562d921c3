"""examples/launch/nodes.sh on two hosts with a cable between them, which is cut, for a while or for ever, or slow."""

import hashlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.helpers.networks import CABLE, Host, two_hosts
from tests.helpers.pretrain_runs import figures, write_inputs

pytestmark = [pytest.mark.distributed, pytest.mark.slow]

NODES = Path(__file__).parents[2] / "examples" / "launch" / "nodes.sh"


@pytest.fixture
def hosts() -> Iterator[list[Host]]:
    with two_hosts() as made:
        yield made


def start(hosts: list[Host], folder: Path, *keys: str) -> list[psutil.Popen]:
    """The same command on both."""
    folder.mkdir(exist_ok=True)
    keys = (*write_inputs(folder), f"output_dir={folder}/run", "guards.hang_minutes=0.4", *keys)
    return [_start_one(host, hosts[0], folder, number, keys) for number, host in enumerate(hosts)]


def _start_one(host: Host, head: Host, folder: Path, number: int, keys: tuple[str, ...]) -> psutil.Popen:
    environment = {
        **os.environ, "NODES": "2", "HEAD": f"{head.address}:29400", "ADDRESS": host.address, "PROCESSES": "1",
        "MAX_RESTARTS": "0", "JOIN_TIMEOUT": "120", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": CABLE,
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "20",
    }  # fmt: skip
    command = host.command("bash", str(NODES), "pretrain", *keys)
    with open(folder / f"node{number}.log", "wb") as stream:
        return psutil.Popen(command, env=environment, stdout=stream, stderr=stream, start_new_session=True)


def wait_for_step(folder: Path, step: int, seconds: float = 200) -> None:
    deadline = time.monotonic() + seconds
    while not ((folder / "run" / "metrics.jsonl").exists() and step in figures(folder / "run")):
        assert time.monotonic() < deadline, logs(folder)
        time.sleep(0.02)


def logs(folder: Path) -> str:
    return "\n".join(path.read_text()[-3000:] for path in sorted(folder.glob("node*.log")))


def ended(nodes: list[psutil.Popen], seconds: float) -> list[int]:
    try:
        return [node.wait(seconds) for node in nodes]
    finally:
        end(nodes)


def weights(folder: Path) -> dict[str, str]:
    newest = max((folder / "run" / "checkpoints").glob("step-*"))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in newest.glob("*.distcp")}


def test_a_cable_that_is_cut_for_a_while_or_slow_changes_nothing(hosts: list[Host], tmp_path: Path) -> None:
    keys = ("training.train_steps=30", "checkpoint.save_every=15", "checkpoint.async_save=true")
    undisturbed = start(hosts, tmp_path / "undisturbed", *keys)
    assert ended(undisturbed, 240) == [0, 0], logs(tmp_path / "undisturbed")
    nodes = start(hosts, tmp_path / "disturbed", *keys)
    wait_for_step(tmp_path / "disturbed", 5)
    hosts[1].set_cable("down")
    time.sleep(10)
    hosts[1].set_cable("up")
    for host in hosts:
        host.slow_down("1mbit")
    wait_for_step(tmp_path / "disturbed", 10)
    for host in hosts:
        host.slow_down("1gbit")
    assert ended(nodes, 240) == [0, 0], logs(tmp_path / "disturbed")
    assert weights(tmp_path / "disturbed") == weights(tmp_path / "undisturbed") != {}


def test_a_cable_that_is_cut_for_ever_ends_all_ranks_and_the_silent_host_is_named(
    hosts: list[Host], tmp_path: Path
) -> None:
    """torchrun on the host that was cut off looks for its store for as long as the kernel repeats what it sends."""
    for host in hosts:
        host.give_up_after(6)
    nodes = start(hosts, tmp_path, "training.train_steps=100000", "checkpoint.save_last=false")
    try:
        wait_for_step(tmp_path, 5)
        hosts[1].set_cable("down")
        started, deadline = ranks(nodes), time.monotonic() + 120
        assert len(started) == 2
        while any(map(lives, started)):
            assert time.monotonic() < deadline, logs(tmp_path)
            time.sleep(0.2)
        said = [(tmp_path / f"node{number}.log").read_text() for number in range(2)]
        assert re.search(r"^redone: .*rank 0 waits for rank 1 .*said nothing for", said[0], re.MULTILINE), logs(
            tmp_path
        )
        assert re.search(r"^redone: .*and rank 0 does not answer", said[1], re.MULTILINE), logs(tmp_path)
        assert nodes[1].wait(60) != 0
    finally:
        end(nodes)


def ranks(nodes: list[psutil.Popen]) -> list[psutil.Process]:
    children = [child for node in nodes for child in node.children(recursive=True)]
    return [child for child in children if "megatron_redone" in child.cmdline() and "-m" in child.cmdline()]


def lives(process: psutil.Process) -> bool:
    """A torchrun that waits for its store leaves what has ended as a zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end(nodes: list[psutil.Popen]) -> None:
    for node in nodes:
        for process in [*node.children(recursive=True), node] if node.is_running() else []:
            process.kill()
