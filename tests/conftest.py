"""Makes `tests.helpers` importable, shares the cores between processes of tests, and ends the pool of ranks."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

# Tests compute on the CPU, also where a device is: importing Transformer Engine beside flash-attn would start CUDA,
# which a process cannot give up. Those of tests/gpu compute in processes of their own, which see the devices again.
os.environ.setdefault("REDONE_TEST_DEVICES", os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(scope="session", autouse=True)
def _one_thread_where_tests_share_the_cores() -> None:
    """Two processes of pytest-xdist with a thread for every core would wait for each other."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        import torch

        torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _ranks_end_with_the_session() -> Iterator[None]:
    yield
    from tests.helpers import ranks

    ranks.stop_ranks()


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Threads cost more than they bring on small models: on busy cores they wait for each other most of the time."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
