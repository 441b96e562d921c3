"""Which interface gloo gets, on machines as psutil and the resolver tell of them."""

import resource
from types import SimpleNamespace

import pytest

from megatron_redone.processes import network
from megatron_redone.processes.network import allow_many_sockets, gloo_interface

INTERFACES = {"lo": "127.0.0.1", "bond0": "10.1.0.5", "ib0": "10.2.0.5"}
SEVERAL = {"WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8"}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The way to each host that is known: the address of this machine's own interface."""
    ways: dict[str, str] = {}
    present = {name: [SimpleNamespace(address=address)] for name, address in INTERFACES.items()}
    monkeypatch.setattr(network.psutil, "net_if_addrs", lambda: present)
    monkeypatch.setattr(network, "_own_address_towards", ways.get)
    return ways


def test_the_interface_leads_to_the_head(machine: dict[str, str]) -> None:
    machine["node001"] = "10.1.0.5"
    assert gloo_interface({**SEVERAL, "MASTER_ADDR": "node001"}) == "bond0"


def test_the_head_does_not_listen_to_itself_alone(machine: dict[str, str]) -> None:
    """Its own name is 127.0.1.1 there: then the interface to anywhere else is taken."""
    machine.update({"node001": "127.0.0.1", "192.0.2.1": "10.1.0.5"})
    assert gloo_interface({**SEVERAL, "MASTER_ADDR": "node001"}) == "bond0"


def test_the_choice_of_nccl_is_gloos_where_it_is_named_in_full(machine: dict[str, str]) -> None:
    machine["node001"] = "10.1.0.5"
    named = {**SEVERAL, "MASTER_ADDR": "node001"}
    assert gloo_interface({**named, "NCCL_SOCKET_IFNAME": "=ib0,bond0"}) == "ib0"
    assert gloo_interface({**named, "NCCL_SOCKET_IFNAME": "ib"}) == "bond0", "NCCL takes beginnings of names, gloo none"
    assert gloo_interface({**named, "NCCL_SOCKET_IFNAME": "^lo"}) == "bond0"


def test_nothing_is_chosen_on_one_machine_or_in_the_dark(machine: dict[str, str]) -> None:
    assert gloo_interface({"WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "8"}) is None and gloo_interface({}) is None
    assert gloo_interface({**SEVERAL, "MASTER_ADDR": "unheard-of"}) is None


def test_this_machines_own_way_is_an_address() -> None:
    assert network._own_address_towards("127.0.0.1") == "127.0.0.1"
    assert network._own_address_towards("no such host") is None


def test_as_many_files_may_be_open_as_are_allowed() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
        allow_many_sockets()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
