"""Which backend runs where, and what it cannot compute exactly is refused."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from megatron_redone.config.model import Backend
from megatron_redone.errors import UserError
from megatron_redone.models import backends
from megatron_redone.models.backends import choose_backend

AUTO, TORCH, ENGINE = Backend.auto, Backend.torch, Backend.transformer_engine


def choose(monkeypatch: pytest.MonkeyPatch, choice: Backend, device: str, has_engine: bool) -> Backend:
    monkeypatch.setattr(backends.engine, "HAVE_TE", has_engine)
    if not has_engine:
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    return choose_backend(choice, torch.device(device))


@pytest.mark.parametrize(
    ("device", "has_engine", "expected"), [("cuda", True, ENGINE), ("cuda", False, TORCH), ("cpu", True, TORCH)]
)
def test_auto_takes_the_fastest_that_is_there(
    monkeypatch: pytest.MonkeyPatch, device: str, has_engine: bool, expected: Backend
) -> None:
    assert choose(monkeypatch, AUTO, device, has_engine) is expected
    assert choose(monkeypatch, TORCH, device, has_engine) is TORCH
    if expected is ENGINE:
        assert choose(monkeypatch, ENGINE, device, has_engine) is ENGINE
        return
    with pytest.raises(UserError, match=r"transformer_engine cannot be taken: (it needs a CUDA|the t)"):
        choose(monkeypatch, ENGINE, device, has_engine)


def test_a_half_installed_engine_is_not_taken_for_a_whole_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The metapackage is there, its half for torch was built for another one."""
    package = tmp_path / "transformer_engine" / "pytorch"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("")
    (package / "__init__.py").write_text("raise OSError('undefined symbol: _ZN3c10')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(backends.engine, "HAVE_TE", False)
    for name in [name for name in sys.modules if name.startswith("transformer_engine")]:
        monkeypatch.delitem(sys.modules, name)
    cuda = torch.device("cuda")
    assert choose_backend(AUTO, cuda) is TORCH
    assert "torch is taken, as transformer_engine cannot be: its import fails with OSError: undefined" in caplog.text
    with pytest.raises(UserError, match=r"its import fails with OSError: undefined symbol.*; use auto"):
        choose_backend(ENGINE, cuda)
    for name in [name for name in sys.modules if name.startswith("transformer_engine")]:
        del sys.modules[name]
