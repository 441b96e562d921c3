"""Everything in this folder needs a CUDA device, and skips itself without one."""

import functools
import subprocess
import sys

import pytest

from tests.helpers.devices import environment_with_devices


@functools.cache
def _has_device() -> bool:
    ask = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", ask], env=environment_with_devices()).returncode == 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    own = [item for item in items if "tests/gpu/" in str(item.path)]
    for item in own:
        item.add_marker(pytest.mark.gpu)
        if not _has_device():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
