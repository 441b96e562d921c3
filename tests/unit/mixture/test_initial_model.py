"""A search is another one when the model changes that its small runs begin with, though its path is the same."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from megatron_redone.config.loader import load_config
from megatron_redone.config.optimize_mixture import OptimizeMixtureConfig
from megatron_redone.mixture.proxy import Proxy
from megatron_redone.mixture.proxy_runs import ProxyRuns
from megatron_redone.mixture.search_data import open_search_data
from tests.helpers import chat_models
from tests.helpers.mixture_inputs import write_search
from tests.helpers.pretrain_runs import write_model

PROXY = Proxy(name="one", weights={"a": 1.0}, seed=1)


@pytest.fixture
def keys(tmp_path: Path) -> list[str]:
    chat_models.write(tmp_path / "first", num_hidden_layers=1)
    return [f"output_dir={tmp_path}/out", *write_search(tmp_path)]


def folder_of(keys: list[str]) -> Path:
    """Of a small run; the facts that it is called by stand in the hash of the whole search too."""
    config = load_config(OptimizeMixtureConfig, None, keys)
    return ProxyRuns(config, open_search_data(config)).folder(PROXY)


def _other_weights(folder: Path) -> None:
    chat_models.write(folder / "first", seed=1, num_hidden_layers=1)


def _other_tokenizer(folder: Path) -> None:
    file = folder / "first" / "tokenizer.json"
    content = json.loads(file.read_text())
    content["model"]["merges"] = content["model"]["merges"][:1]
    file.write_text(json.dumps(content))


def _other_architecture(folder: Path) -> None:
    write_model(folder / "model", num_hidden_layers=2)


@pytest.mark.parametrize(
    ("begins_with", "change"),
    [
        (["proxy.init_from=FOLDER/first", "proxy.model.hf_config=null"], _other_weights),
        (["proxy.init_from=FOLDER/first", "proxy.model.hf_config=null"], _other_tokenizer),
        (["proxy.tokenizer=FOLDER/first"], _other_tokenizer),
        ([], _other_architecture),
    ],
)
def test_a_changed_model_is_another_search(
    begins_with: list[str], change: Callable[[Path], None], keys: list[str], tmp_path: Path
) -> None:
    keys += [key.replace("FOLDER", str(tmp_path)) for key in begins_with]
    before = folder_of(keys)
    assert folder_of(keys) == before
    change(tmp_path)
    assert folder_of(keys) != before
