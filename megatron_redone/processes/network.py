"""Which network interface leads to the other machines of a run."""

import contextlib
import os
import resource
import socket
from collections.abc import Iterable, Mapping

import psutil

_ANYWHERE = "192.0.2.1"  # set aside for documents (RFC 5737): asked for the way there, nothing is sent


def spans_machines(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether torchrun has started processes on other machines too."""
    world, local = (int(environment.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    return world > local


def gloo_interface(environment: Mapping[str, str] = os.environ) -> str | None:
    """What gloo is to listen on; None where one machine runs alone, or nothing better than its own choice is known.

    By itself gloo takes the address that the host's own name resolves to: 127.0.1.1 on Debian and Ubuntu, which no
    other machine can reach. NCCL's interface is taken where one is named in full, else the one that leads to
    MASTER_ADDR.
    """
    if not spans_machines(environment):
        return None
    present = psutil.net_if_addrs()
    named = environment.get("NCCL_SOCKET_IFNAME", "").lstrip("=").split(",")
    if named[0] in present:
        return named[0]
    for target in (environment.get("MASTER_ADDR"), _ANYWHERE):
        address = _own_address_towards(target) if target else None
        if address is not None and not address.startswith("127."):
            return _interface_of(address, present)
    return None


def _own_address_towards(host: str) -> str | None:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))
        return probe.getsockname()[0]
    return None


def _interface_of(address: str, present: Mapping[str, Iterable]) -> str | None:
    return next((name for name, entries in present.items() if any(entry.address == address for entry in entries)), None)


def allow_many_sockets() -> None:
    """Raises the limit of open files as far as this process may: gloo opens a socket for every two ranks of a group."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
