"""examples/launch/nodes.sh on two hosts with a cable between them, which is cut, for a while or for ever, or slow."""

import hashlib
import os
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
        for node in nodes:
            for process in [*node.children(recursive=True), node] if node.is_running() else []:
                process.kill()


def weights(folder: Path) -> dict[str, str]:
    newest = max((folder / "run" / "checkpoints").glob("step-*"))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in newest.glob("*.distcp")}


def test_a_cable_that_is_cut_for_a_while_or_slow_changes_nothing(hosts: list[Host], tmp_path: Path) -> None:
    keys = ("training.train_steps=60", "checkpoint.save_every=30", "checkpoint.async_save=true")
    undisturbed = start(hosts, tmp_path / "undisturbed", *keys)
    assert ended(undisturbed, 240) == [0, 0], logs(tmp_path / "undisturbed")
    nodes = start(hosts, tmp_path / "disturbed", *keys)
    wait_for_step(tmp_path / "disturbed", 5)
    hosts[1].set_cable("down")
    time.sleep(10)
    hosts[1].set_cable("up")
    for host in hosts:
        host.slow_down("1mbit")
    assert ended(nodes, 240) == [0, 0], logs(tmp_path / "disturbed")
    assert weights(tmp_path / "disturbed") == weights(tmp_path / "undisturbed") != {}


def test_a_cable_that_is_cut_for_ever_ends_the_run_and_the_silent_host_is_named(
    hosts: list[Host], tmp_path: Path
) -> None:
    nodes = start(hosts, tmp_path, "training.train_steps=100000", "checkpoint.save_last=false")
    wait_for_step(tmp_path, 5)
    hosts[1].set_cable("down")
    codes = ended(nodes, 240)
    assert 0 not in codes
    said = [
        [line for line in (tmp_path / f"node{number}.log").read_text().splitlines() if line.startswith("redone: ")]
        for number in range(2)
    ]
    assert any("rank 0 waits for rank 1" in line and "said nothing for" in line for line in said[0]), logs(tmp_path)
    assert any("rank 0 does not answer" in line for line in said[1]), logs(tmp_path)
