"""A model is known by its files: a change of any that decides an answer is a change of its fingerprint."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from megatron_redone.config.evaluate import ComputeDtype
from megatron_redone.config.parallel import Device
from megatron_redone.errors import UserError
from megatron_redone.generation.model_files import load_causal_lm, load_tokenizer, model_fingerprint
from megatron_redone.generation.placement import choose_placement
from tests.helpers import chat_models, small_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return chat_models.write(tmp_path / "model", num_hidden_layers=1)


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"])
def test_every_file_counts(folder: Path, name: str) -> None:
    before = model_fingerprint(str(folder))
    (folder / "README.md").write_text("no part of the model")
    assert model_fingerprint(str(folder)) == before and len(before) == 16
    (folder / name).write_text((folder / name).read_text() + " ")
    assert model_fingerprint(str(folder)) != before


def test_weights_and_the_template_of_a_file_count(folder: Path, tmp_path: Path) -> None:
    before = model_fingerprint(str(folder))
    template = tmp_path / "own.jinja"
    template.write_text("{{ messages[0].content }}")
    with_template = model_fingerprint(str(folder), str(template))
    assert with_template != before
    template.write_text("{{ messages[0].content }}!")
    assert model_fingerprint(str(folder), str(template)) not in (before, with_template)
    [weights] = folder.glob("*.safetensors")
    tensors = load_file(weights)
    next(iter(tensors.values())).view(-1)[0] += 1
    save_file(tensors, weights, {"format": "pt"})
    assert model_fingerprint(str(folder)) != before


def test_the_template_of_a_file_goes_before_the_models(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "own.jinja").write_text("<{{ messages[0].content }}>")
    messages = [{"role": "user", "content": "hi"}]
    own = load_tokenizer(folder, str(tmp_path / "own.jinja"))
    assert own.apply_chat_template(messages, tokenize=False) == "<hi>"
    assert load_tokenizer(folder).apply_chat_template(messages, tokenize=False).startswith("<|im_start|>user")
    for content in (None, b"\xff"):
        (tmp_path / "own.jinja").unlink() if content is None else (tmp_path / "own.jinja").write_bytes(content)
        with pytest.raises(UserError, match=r"chat_template: .*own\.jinja cannot be read"):
            load_tokenizer(folder, str(tmp_path / "own.jinja"))


def test_a_model_is_loaded_in_the_type_that_was_asked_for_and_never_from_pickles(folder: Path) -> None:
    place = choose_placement(Device.cpu, ComputeDtype.bf16)
    model = load_causal_lm(folder, place)
    assert not model.training and {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    [weights] = folder.glob("*.safetensors")
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(UserError, match="pickled weights"):
        load_causal_lm(folder, place)


def test_ids_that_the_model_has_no_row_for_are_a_line(folder: Path) -> None:
    model = load_causal_lm(folder, choose_placement(Device.cpu, ComputeDtype.fp32))
    rows = model.config.vocab_size
    assert model(torch.tensor([[0, rows - 1]])).logits.shape[-1] == rows
    with pytest.raises(UserError, match=f"its tokenizer gives the id {rows}, its embedding has {rows} rows"):
        model(torch.tensor([[0, rows]]))


def test_folders_without_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json: no such file"):
        model_fingerprint(str(small_tokenizer.train(tmp_path / "empty")))
    with pytest.raises(UserError, match="no such directory"):
        model_fingerprint(str(tmp_path / "nowhere"))
