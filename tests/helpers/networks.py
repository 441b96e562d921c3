"""Two hosts of one machine: network namespaces with a cable between them, which can be cut and made slow."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

CABLE = "cable"  # the interface in each namespace


@dataclass(frozen=True)
class Host:
    """A namespace, and its address on the cable."""

    name: str
    address: str

    def command(self, *words: str) -> list[str]:
        """A command as it is run on this host."""
        return ["ip", "netns", "exec", self.name, *words]

    def set_cable(self, state: str) -> None:
        """`up` or `down`."""
        _run("ip", "-n", self.name, "link", "set", CABLE, state)

    def give_up_after(self, retries: int) -> None:
        """How often a connection repeats what nobody answers: 6 times are about 25 s, 15 a quarter of an hour."""
        _run("ip", "netns", "exec", self.name, "sysctl", "-w", f"net.ipv4.tcp_retries2={retries}")

    def slow_down(self, rate: str) -> None:
        """Lets no more than a rate out, such as `1mbit`."""
        _run("ip", "netns", "exec", self.name, "tc", "qdisc", "replace", "dev", CABLE, "root", "tbf", "rate", rate,
             "burst", "10kb", "latency", "50ms")  # fmt: skip


@contextlib.contextmanager
def two_hosts() -> Iterator[list[Host]]:
    """Makes them, and takes them away; skips the test where that is not allowed."""
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("tc"):
        pytest.skip("network namespaces need root, and `ip` and `tc` (Debian: iproute2)")
    hosts = [Host(f"redone{os.getpid()}-{number}", f"10.213.7.{number + 1}") for number in range(2)]
    with contextlib.ExitStack() as made:
        for host in hosts:
            if subprocess.run(["ip", "netns", "add", host.name], check=False, capture_output=True).returncode:
                pytest.skip("network namespaces cannot be made here")
            made.callback(_run, "ip", "netns", "delete", host.name)
        ends = [word for host in hosts for word in ("name", CABLE, "netns", host.name)]
        _run("ip", "link", "add", *ends[:4], "type", "veth", "peer", *ends[4:])
        for host in hosts:
            _run("ip", "-n", host.name, "addr", "add", f"{host.address}/24", "dev", CABLE)
            for interface in ("lo", CABLE):
                _run("ip", "-n", host.name, "link", "set", interface, "up")
        yield hosts


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)
