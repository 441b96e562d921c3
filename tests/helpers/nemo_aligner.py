"""The loss functions of NeMo-Aligner's DPO model, out of its wheel on PyPI.

The wheel is not installed: it brings a package `tests` that hides this one, and importing its model wants NeMo
and Lightning whole. The methods are compiled out of the file instead, unchanged.
"""

import ast
import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

_PACKAGE = "nemo-aligner==0.7.0"
_SHA256 = "1a9c84e4685fda96325de7b5ab181c6cfffe0f2b21f50c2bde8d9c2135669b6e"
_FILE = "nemo_aligner/models/nlp/gpt/megatron_gpt_dpo_model.py"
_METHODS = ("split_output_tensor", "get_reduced_masked_logps", "loss_func", "sft_loss_func")


def read_dpo_model(folder: Path) -> type:
    """Its class with the methods named above; skips the test where the wheel cannot be downloaded."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), _PACKAGE]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip(f"{_PACKAGE} cannot be downloaded here")
    wheel = next(folder.glob("*.whl"))
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() == _SHA256
    with zipfile.ZipFile(wheel) as content:
        return _compile(content.read(_FILE).decode())


def _compile(source: str) -> type:
    [model] = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    model.bases, model.keywords = [], []
    model.body = [node for node in model.body if isinstance(node, ast.FunctionDef) and node.name in _METHODS]
    one_process = SimpleNamespace(get_context_parallel_world_size=lambda: 1)
    scope: dict[str, Any] = {"torch": torch, "parallel_state": one_process}
    exec(compile(ast.Module([model], []), _FILE, "exec"), scope)
    return scope[model.name]
