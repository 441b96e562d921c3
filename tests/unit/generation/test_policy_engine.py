"""Which engine computes a policy, and that its model is loaded once."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from megatron_redone.config.build_preferences import Engine, PolicyConfig
from megatron_redone.errors import UserError
from megatron_redone.generation.policy_engine import EngineCache, load_engine
from megatron_redone.generation.transformers_engine import TransformersEngine


def test_a_model_is_loaded_once_for_entries_that_share_it(chat_folder: Path) -> None:
    engines = EngineCache()
    first = engines.get(PolicyConfig(path=str(chat_folder)))
    assert engines.get(PolicyConfig(path=str(chat_folder), chat_template="x")) is first
    assert engines.get(PolicyConfig(path=str(chat_folder), batch_size=1)) is not first


def test_without_vllm_transformers_computes_and_vllm_is_refused(
    chat_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec

    def without_vllm(name: str, *more: Any) -> Any:
        return None if name == "vllm" else find(name, *more)

    monkeypatch.setattr(importlib.util, "find_spec", without_vllm)
    assert isinstance(load_engine(PolicyConfig(path=str(chat_folder))), TransformersEngine)
    with pytest.raises(UserError, match=r"policy\.engine: vllm is not installed.*engine=transformers"):
        load_engine(PolicyConfig(path="not looked for", engine=Engine.vllm))
