"""Which backend runs where, and what it cannot compute exactly is refused."""

import importlib.util
from typing import Any

import pytest
import torch

from megatron_redone.config.model import Backend
from megatron_redone.errors import UserError
from megatron_redone.models.backends import choose_backend
from tests.helpers import hf_models

AUTO, TORCH, ENGINE = Backend.auto, Backend.torch, Backend.transformer_engine


def choose(monkeypatch: pytest.MonkeyPatch, choice: Backend, device: str, has_engine: bool, model: str) -> Backend:
    spec: Any = object() if has_engine else None
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    return choose_backend(choice, torch.device(device), hf_models.architecture(model).rotary)


@pytest.mark.parametrize(
    ("device", "has_engine", "model", "expected"),
    [
        ("cuda", True, "qwen3", ENGINE),
        ("cuda", True, "llama3_scaled", ENGINE),
        ("cuda", True, "qwen2_yarn", TORCH),
        ("cuda", False, "qwen3", TORCH),
        ("cpu", True, "qwen3", TORCH),
    ],
)
def test_auto_takes_the_fastest_that_is_exact(
    monkeypatch: pytest.MonkeyPatch, device: str, has_engine: bool, model: str, expected: Backend
) -> None:
    assert choose(monkeypatch, AUTO, device, has_engine, model) is expected
    assert choose(monkeypatch, TORCH, device, has_engine, model) is TORCH
    if expected is ENGINE:
        assert choose(monkeypatch, ENGINE, device, has_engine, model) is ENGINE
        return
    with pytest.raises(UserError, match=r"backend: transformer_engine (needs a CUDA device|cannot scale .* by yarn)"):
        choose(monkeypatch, ENGINE, device, has_engine, model)
