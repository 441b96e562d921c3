"""The same bits from every repetition of a run on the same machines and layout."""

import os

import torch

# What libraries read when they are first used. Sources: cuBLAS, "Results reproducibility"; Transformer Engine,
# docs/envvars; NCCL, "Environment variables" (one algorithm, so that sums have one order).
_ENVIRONMENT = {
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "NVTE_ALLOW_NONDETERMINISTIC_ALGO": "0",
    "NCCL_ALGO": "Ring",
}


def make_deterministic() -> None:
    """Chooses algorithms whose results do not vary, where there are any; what is set outside counts.

    To be called before a device is used. Operations that have no such algorithm warn.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
