"""A real Slurm of two machines on this one: a controller and two daemons, in network namespaces of their own."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.networks import CABLE, Host, two_hosts

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "nsenter", "unshare")
# A job that is queued again waits until its credentials have expired (`cred_expire`, in seconds).
# Machines as the examples expect them; Slurm counts processors and GPUs by what it is told.
_CONFIGURATION = """
ClusterName=redone
SlurmctldHost={head.name}({head.address})
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CryptoType=crypto/munge
MpiDefault=none
ProctrackType=proctrack/pgid
SlurmUser=root
SlurmdUser=root
SwitchType=switch/none
TaskPlugin=task/none
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=1,sched_interval=3,bf_interval=3
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobRequeue=1
ReturnToService=2
SlurmdParameters=config_overrides
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdSpoolDir={folder}/spool.%n
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
KillWait=60
GresTypes=gpu
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
_NODE = "NodeName={host.name} NodeAddr={host.address} CPUs=64 RealMemory=8000 Gres=gpu:8 State=UNKNOWN"


@dataclass(frozen=True)
class Cluster:
    """It runs as long as it is held.

    Attributes:
        hosts: The machines; the controller is on the first.
        folder: Configuration, states and logs.
    """

    hosts: Sequence[Host]
    folder: Path

    def run(self, *words: str, **variables: str) -> str:
        """What a command of Slurm's writes, with further variables of the environment."""
        command = self.hosts[0].command(*words)
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=self.environment(**variables))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def environment(self, **variables: str) -> dict[str, str]:
        """That of a user of this cluster; a job has it, too."""
        own = {"SLURM_CONF": str(self.folder / "slurm.conf"), "GLOO_SOCKET_IFNAME": CABLE, "OMP_NUM_THREADS": "1"}
        return {**os.environ, **own, **variables}

    def state(self, job: str) -> dict[str, str]:
        """What `scontrol show job` says, such as JobState and Restarts."""
        words = self.run("scontrol", "--oneliner", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait_for_end(self, job: str, seconds: float = 240) -> dict[str, str]:
        """The state of a job that has ended, whether well or not."""
        deadline = time.monotonic() + seconds
        while (state := self.state(job))["JobState"] in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING"):
            assert time.monotonic() < deadline, f"{state}\n{self.logs()}"
            time.sleep(0.5)
        return state

    def wait_for_broken_chain(self, seconds: float = 120) -> None:
        """Until jobs wait for one that has failed, and none is at work."""
        deadline = time.monotonic() + seconds
        while set(self.run("squeue", "--noheader", "--format=%r").split("\n")) - {"Dependency"} != {
            "DependencyNeverSatisfied"
        }:
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.5)

    def logs(self) -> str:
        """The end of what the daemons wrote."""
        return "\n".join(f"{path.name}:\n{path.read_text()[-2000:]}" for path in self.folder.glob("*.log"))


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """Starts it, and takes it away; skips the test where that cannot be."""
    if missing := [name for name in _PROGRAMS if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")]:
        pytest.skip(f"there is no {missing[0]}; `bash tests/slurm.sh` installs what a real Slurm needs")
    with contextlib.ExitStack() as started:
        hosts = started.enter_context(two_hosts())
        folder = Path(started.enter_context(tempfile.TemporaryDirectory(prefix="slurm", ignore_cleanup_errors=True)))
        _write(folder, hosts)
        made = Cluster(hosts, folder)
        secrets = [f"--{name}={folder}/munge.{name.split('-')[0]}" for name in ("key-file", "socket", "seed-file")]
        secrets += [f"--pid-file={folder}/munge.pid", f"--log-file={folder}/munge.log"]
        started.enter_context(_daemon(["munged", "--foreground", "--force", *secrets], made))
        started.enter_context(_daemon(_as(hosts[0], folder, "slurmctld -D"), made))
        for host in hosts:
            started.enter_context(_daemon(_as(host, folder, f"slurmd -D -N {host.name}"), made))
        _wait_until_idle(made)
        started.callback(_end_jobs, made)
        yield made


def _write(folder: Path, hosts: Sequence[Host]) -> None:
    nodes = "\n".join(_NODE.format(host=host) for host in hosts)
    (folder / "slurm.conf").write_text(_CONFIGURATION.format(folder=folder, head=hosts[0], nodes=nodes))
    (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-7]\n")
    for number in range(8):
        (folder / f"gpu{number}").touch()  # stands for a device file
    (folder / "hosts").write_text("127.0.0.1 localhost\n" + "".join(f"{host.address} {host.name}\n" for host in hosts))
    for name in ("state", *(f"spool.{host.name}" for host in hosts)):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o600)


def _as(host: Host, folder: Path, command: str) -> list[str]:
    """A command on a host that knows its own name and those of the others."""
    script = f"hostname {host.name} && mount --bind {folder}/hosts /etc/hosts && exec {command}"
    # Not `ip netns exec`: it mounts a /sys without the control groups that slurmd looks for.
    return ["nsenter", f"--net=/run/netns/{host.name}", "unshare", "--uts", "--mount", "bash", "-c", script]


@contextlib.contextmanager
def _daemon(command: list[str], made: Cluster) -> Iterator[None]:
    environment = made.environment(PATH=f"{os.environ['PATH']}:/usr/sbin")
    with open(made.folder / "daemons.log", "ab") as log:
        daemon = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        yield
    finally:
        daemon.terminate()
        try:
            daemon.wait(15)
        except subprocess.TimeoutExpired:
            daemon.kill()


def _wait_until_idle(made: Cluster) -> None:
    deadline, said = time.monotonic() + 60, ""
    while time.monotonic() < deadline:
        command = made.hosts[0].command("sinfo", "--noheader", "--format=%T")
        said = subprocess.run(command, capture_output=True, text=True, env=made.environment()).stdout.strip()
        if said == "idle":
            return
        time.sleep(0.5)
    pytest.fail(f"Slurm does not start: {said}\n{made.logs()}")


def _end_jobs(made: Cluster) -> None:
    """So that nothing of them outlives the daemons."""
    jobs = made.run("squeue", "--noheader", "--format=%A").split()
    if jobs:
        made.run("scancel", *jobs)
    deadline = time.monotonic() + 60
    while made.run("squeue", "--noheader", "--format=%A") and time.monotonic() < deadline:
        time.sleep(0.5)
