"""One folder, judged alike by all who read one: what could mean two models is refused by each in the same words."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from megatron_redone.config.import_hf import ImportHFConfig
from megatron_redone.config.verify import VerifyConfig
from megatron_redone.errors import UserError
from megatron_redone.generation.hf_model import load_model
from megatron_redone.generation.model_files import model_fingerprint
from megatron_redone.generation.placement import Placement
from megatron_redone.model_folders import check_model_folder, open_model_folder
from megatron_redone.stages import import_hf, verify
from megatron_redone.training.initial_weights import find_initial_weights
from tests.helpers import hf_folders, one_process
from tests.helpers.round_trips import edit_config

YARN = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hf_folders.write(tmp_path_factory.mktemp("sound") / "hf", "qwen2_tied", num_hidden_layers=1)


def single_file(folder: Path, factor: float) -> None:
    """Beside the shards; a newer one is another model."""
    tensors = {name: value * factor for name, value in hf_folders.tensors(folder).items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def old_shards(folder: Path) -> None:
    single_file(folder, 2.0)
    (folder / "model.safetensors.index.json").unlink()


def another_head(folder: Path) -> None:
    tensors = hf_folders.tensors(folder)
    for file in folder.glob("model*"):
        file.unlink()
    head = {"lm_head.weight": tensors["model.embed_tokens.weight"] * 2}
    save_file({**tensors, **head}, folder / "model.safetensors", {"format": "pt"})


def one_rope(scaling: Any) -> Callable[[Path], None]:
    """Instead of the spelling of transformers 5."""

    def spoil(folder: Path) -> None:
        content = json.loads((folder / "config.json").read_text())
        del content["rope_parameters"]
        (folder / "config.json").write_text(json.dumps({**content, "rope_scaling": scaling}))

    return spoil


def generation(ends: Any) -> Callable[[Path], Any]:
    return lambda folder: (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "tied, and another head": (another_head, r"lm_head\.weight differs from model\.embed_tokens\.weight, .* true"),
    "a single file beside an index": (
        lambda folder: single_file(folder, 1.0),
        r"model\.safetensors lies beside model\.safetensors\.index\.json",
    ),
    "a newer file beside old shards": (old_shards, r"model\.safetensors lies beside model-00001-of-\d+\.safetensors"),
    "rope_scaling beside rope_parameters": (
        lambda folder: edit_config(folder, rope_scaling=YARN),
        "rope_parameters and rope_scaling do not say the same",
    ),
    "llama3 without its length": (one_rope(LLAMA3), "'llama3' needs the number original_max_position_embeddings"),
    "linear without factor": (one_rope({"type": "linear"}), "'linear' needs the number factor"),
    "rope_scaling a string": (one_rope("linear"), "rope_scaling is 'linear', an object was expected"),
    "layer_types": (
        lambda folder: edit_config(folder, layer_types=["sliding_attention"]),
        "layer_types says 'sliding_attention' of layer 0, the keys of the sliding window full_attention",
    ),
    "an adapter": (
        lambda folder: (folder / "adapter_config.json").write_text("{}"),
        r"adapter_config\.json lies beside the weights",
    ),
    "two names of the type": (
        lambda folder: edit_config(folder, dtype="float16", torch_dtype="bfloat16"),
        "dtype is float16, torch_dtype bfloat16",
    ),
    "vocab_size": (lambda folder: edit_config(folder, vocab_size=501), "500 x 64, config.json says 501 x 64"),
    "layers": (
        lambda folder: edit_config(folder, num_hidden_layers=2, layer_types=None),
        "weights hold 1 layers, config.json says num_hidden_layers 2",
    ),
    "heads": (lambda folder: edit_config(folder, head_dim=32), r"num_attention_heads 4 \* head_dim 32"),
    "an end token that is none": (generation("</s>"), "eos_token_id is '</s>', a whole number"),
    "an end token beyond the vocabulary": (generation([2, 500]), "eos_token_id 500 is no token of vocab_size 500"),
    "generation_config damaged": (
        lambda folder: (folder / "generation_config.json").write_text("{"),
        r"generation_config\.json: not valid JSON",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_all_who_read_a_folder_refuse_the_same(what: str, sound: Path, tmp_path: Path) -> None:
    spoil, message = REFUSED[what]
    folder = Path(shutil.copytree(sound, tmp_path / "hf"))
    spoil(folder)
    place = Placement(device=torch.device("cpu"), dtype=torch.float32)
    words = set()
    for read in (
        lambda: find_initial_weights(str(folder)),
        lambda: import_hf.run(ImportHFConfig(hf=str(folder), output=str(tmp_path / "checkpoint"))),
        lambda: verify._read_inputs(VerifyConfig(hf=str(folder), seq_length=16), one_process.context()),
        lambda: model_fingerprint(str(folder)),
        lambda: load_model(str(folder), place),
    ):
        with pytest.raises(UserError, match=message) as caught:
            read()
        words.add(str(caught.value))
    assert len(words) == 1 and "\n" not in words.pop()
    assert [path.name for path in tmp_path.iterdir()] == ["hf"], "nothing was written"


def test_a_tokenizer_that_knows_more_than_the_model_is_a_line(tmp_path: Path) -> None:
    folder = hf_folders.write(tmp_path / "hf", "qwen2_tied", num_hidden_layers=1, vocab_size=100)
    with pytest.raises(UserError, match=r"token \d+ of a row"):
        verify._read_inputs(VerifyConfig(hf=str(folder), seq_length=16), one_process.context())


def test_what_is_sound_is_read_by_all(sound: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="megatron_redone"):
        architecture, weights = open_model_folder(sound)
        assert caplog.text == ""
        folder = Path(shutil.copytree(sound, tmp_path / "hf"))
        edit_config(folder, logits_scaling=0.5)
        open_model_folder(folder)
    assert architecture.vocab_size == 500 and weights.names() == hf_folders.tensors(sound).keys()
    assert "nobody reads logits_scaling" in caplog.text
    check_model_folder(sound)


@pytest.mark.parametrize(
    "keys",
    [
        {"model_type": "gpt2"},
        {"hidden_act": "gelu"},
        {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}, "rope_parameters": None},
    ],
)
def test_another_model_is_for_transformers_alone(keys: dict[str, Any], sound: Path, tmp_path: Path) -> None:
    """It may be evaluated, as far as its files agree with each other."""
    folder = Path(shutil.copytree(sound, tmp_path / "hf"))
    edit_config(folder, **keys)
    with pytest.raises(UserError, match="not supported"):
        find_initial_weights(str(folder))
    check_model_folder(folder)
    first = sorted(folder.glob("model-*.safetensors"))[0]
    tensors = load_file(first)
    save_file({**tensors, "more": torch.ones(2)}, first, {"format": "pt"})
    with pytest.raises(UserError, match="holds more, which the index does not say"):
        check_model_folder(folder)
