"""What the CPU platform must leave alone, in a process of its own."""

import subprocess
import sys

import pytest

PROGRAM = """
import torch
from megatron_redone.distributed import cpu_platform
cpu_platform.install()
with torch.device("meta"):
    print(torch.empty(1).device, torch.arange(2).device, torch.zeros(1).device)
print(torch.empty(1).device, torch.zeros(1, device="cuda").device)
"""


@pytest.mark.slow
def test_a_device_context_still_decides_where_tensors_are_made() -> None:
    """transformers builds its models in one."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", PROGRAM], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["meta", "meta", "meta", "cpu", "cpu"], done.stderr
