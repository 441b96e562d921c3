"""examples/launch: several machines, here two launchers on one that meet over the loopback."""

import os
import shutil
import socket
import stat
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.helpers.pretrain_runs import figures, write_inputs

pytestmark = pytest.mark.distributed

LAUNCH = Path(__file__).parents[2] / "examples" / "launch"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(log: Path, command: list[str], **variables: str) -> psutil.Popen:
    environment = {**os.environ, "PROCESSES": "1", "OMP_NUM_THREADS": "1", "JOIN_TIMEOUT": "60", **variables}
    with open(log, "ab") as stream:
        return psutil.Popen(["bash", *command], env=environment, stdout=stream, stderr=stream, start_new_session=True)


def two_nodes(folder: Path, keys: list[str]) -> list[psutil.Popen]:
    """The same command twice, as on two machines."""
    head = f"127.0.0.1:{free_port()}"
    return [
        start(folder / f"node{number}.log", [str(LAUNCH / "nodes.sh"), "pretrain", *keys], NODES="2", HEAD=head)
        for number in range(2)
    ]


def wait_for(nodes: list[psutil.Popen], folder: Path) -> None:
    codes = [node.wait(150) for node in nodes]
    assert codes == [0, 0], "\n".join(path.read_text()[-3000:] for path in folder.glob("node*.log"))


def wait_for_step(folder: Path, step: int) -> None:
    deadline = time.monotonic() + 120
    while not ((folder / "run" / "metrics.jsonl").exists() and step in figures(folder / "run")):
        assert time.monotonic() < deadline, "\n".join(path.read_text()[-3000:] for path in folder.glob("node*.log"))
        time.sleep(0.02)


def test_two_nodes_train_survive_a_lost_process_and_resume(tmp_path: Path) -> None:
    keys = [*write_inputs(tmp_path), f"output_dir={tmp_path}/run", "checkpoint.save_every=2", "training.train_steps=16"]
    nodes = two_nodes(tmp_path, keys)
    try:
        wait_for_step(tmp_path, 5)
        ranks = [child for node in nodes for child in node.children(recursive=True) if "pretrain" in child.cmdline()]
        max(ranks, key=lambda rank: rank.create_time()).kill()
        wait_for(nodes, tmp_path)
        assert list(figures(tmp_path / "run")) == list(range(1, 17))
        said = "".join((tmp_path / f"node{number}.log").read_text() for number in range(2))
        assert "layout: 2 processes = tensor 1 x pipeline 1 x context 1 x data 2" in said
        assert "going on from" in said
    finally:
        for node in nodes:
            for process in [*node.children(recursive=True), node] if node.is_running() else []:
                process.kill()


SHIMS = {
    # Starts the command once for each node, as Slurm's own would on as many machines.
    "srun": """
while [[ $1 == --* ]]; do shift; done
for node in $(seq "$SLURM_JOB_NUM_NODES"); do "$@" & pids+=($!); done
echo "${pids[@]}" >"$SHIM_STATE/pids"
status=0; for pid in "${pids[@]}"; do wait "$pid" || status=$?; done; exit $status""",
    "scontrol": """
if [ "$1" = show ]; then echo 127.0.0.1; else echo "$@" >"$SHIM_STATE/requeued"; fi""",
    "scancel": """kill -TERM $(cat "$SHIM_STATE/pids")""",
}


def test_a_slurm_job_that_comes_to_its_time_limit_saves_and_queues_again(tmp_path: Path) -> None:
    """Slurm is not here: three shims stand for its commands, the job script and what it starts are the real ones."""
    shims = tmp_path / "shims"
    shims.mkdir()
    for name, body in SHIMS.items():
        (shims / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (shims / name).chmod(stat.S_IRWXU)
    keys = [*write_inputs(tmp_path), f"output_dir={tmp_path}/run", "training.train_steps=100000"]
    job = start(
        tmp_path / "node0.log",
        [str(LAUNCH / "slurm.sh"), "pretrain", *keys],
        PATH=f"{shims}:{os.environ['PATH']}",
        SHIM_STATE=str(tmp_path),
        LAUNCH_DIR=str(LAUNCH),
        SLURM_JOB_NUM_NODES="2",
        SLURM_JOB_NODELIST="node[1-2]",
        SLURM_JOB_ID=str(free_port() - 20000),
    )
    try:
        wait_for_step(tmp_path, 3)
        job.send_signal(10)  # SIGUSR1, as --signal asks for
        assert job.wait(120) != 0
    finally:
        for process in [*job.children(recursive=True), job] if job.is_running() else []:
            process.kill()
    said = (tmp_path / "node0.log").read_text()
    assert "as asked; the same command goes on from there" in said and "queues again" in said
    assert (tmp_path / "requeued").read_text().startswith("requeue ")
    assert (tmp_path / "run/checkpoints/latest").is_file()


@pytest.mark.parametrize(
    ("visible", "node", "expected"),
    [
        ("", "1", "numactl --cpunodebind=1 --preferred=1 -- echo a b"),
        ("GPU-7,GPU-9", "1", "numactl --cpunodebind=1 --preferred=1 -- echo a b"),
        ("", "-1", "a b"),
        ("", None, "a b"),
    ],
)
def test_a_process_keeps_to_the_processors_beside_its_gpu(
    tmp_path: Path, visible: str, node: str | None, expected: str
) -> None:
    """The second process of a machine whose tools and whose kernel are shims."""
    asked = "--id=GPU-9" if visible else "--id=1"
    bodies = {"nvidia-smi": f'[[ "$*" == *{asked} ]] && echo 00000000:1B:00.0', "numactl": 'echo numactl "$@"'}
    for name, body in bodies.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (tmp_path / name).chmod(stat.S_IRWXU)
    device = tmp_path / "bus/pci/devices/0000:1b:00.0"
    device.mkdir(parents=True)
    if node is not None:
        (device / "numa_node").write_text(f"{node}\n")
    variables = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SYSFS": str(tmp_path), "LOCAL_RANK": "1"}
    command = ["bash", str(LAUNCH / "bind.sh"), "echo", "a", "b"]
    environment = {**os.environ, **variables, "CUDA_VISIBLE_DEVICES": visible}
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    assert (shown.returncode, shown.stdout.strip()) == (0, expected)


def test_without_a_gpu_the_launchers_say_what_to_do() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PROCESSES"}
    shown = subprocess.run(
        ["bash", str(LAUNCH / "one_node.sh"), "pretrain"], env=environment, capture_output=True, text=True, timeout=30
    )
    if shutil.which("nvidia-smi"):
        pytest.skip("there is a GPU")
    assert shown.returncode == 2 and "no GPU found; set PROCESSES" in shown.stderr
