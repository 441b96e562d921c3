"""A loaded model in two halves gives transformers' own logits, also where a head does more than multiply."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from megatron_redone.config.evaluate import ComputeDtype
from megatron_redone.config.parallel import Device
from megatron_redone.errors import UserError
from megatron_redone.generation.hf_model import LoadedModel, load_model
from megatron_redone.generation.placement import choose_placement
from tests.helpers import chat_models, hf_models, small_tokenizer

PLACE = choose_placement(Device.cpu, ComputeDtype.fp32)
TOKENS = torch.randint(0, 400, (3, 17), generator=torch.Generator().manual_seed(0))


def test_states_and_head_are_the_model(chat_model: LoadedModel, theirs: Any) -> None:
    with torch.inference_mode():
        states = chat_model.states(TOKENS)
        torch.testing.assert_close(chat_model.head(states), theirs(TOKENS).logits)
    assert states.shape[-1] == theirs.config.hidden_size, "logits exist for the states that are asked for only"


def test_a_model_that_scales_its_logits_is_taken_whole(tmp_path: Path) -> None:
    config = transformers.GraniteConfig(**hf_models._SMALL | {"num_hidden_layers": 1, "logits_scaling": 4.0})
    torch.manual_seed(0)
    granite = transformers.AutoModelForCausalLM.from_config(config).eval()
    granite.save_pretrained(tmp_path)
    small_tokenizer.train(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    model = load_model(str(tmp_path), PLACE)
    with torch.inference_mode():
        torch.testing.assert_close(model.head(model.states(TOKENS)), granite(TOKENS).logits)


def test_answers_end_with_the_models_tokens_and_the_tokenizers(tmp_path: Path) -> None:
    folder = chat_models.write(tmp_path, num_hidden_layers=1)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 5], "temperature": 0.1}))
    model = load_model(str(folder), PLACE)
    assert model.end_ids == sorted({5, 7, model.tokenizer.convert_tokens_to_ids("<|im_end|>")})
    assert model.model.generation_config.temperature in (None, 1.0), "its own settings do not fill the gaps of ours"
    assert model.limit == 256


def test_a_document_begins_with_bos_or_with_what_ended_the_one_before(chat_model: LoadedModel, tmp_path: Path) -> None:
    assert chat_model.texts.encode("<|im_end|>") != chat_model.tokenizer("<|im_end|>")["input_ids"]
    assert chat_model.document_start == chat_model.texts.eod_id
    folder = chat_models.write(tmp_path, bos="<|im_start|>", num_hidden_layers=1)
    with_bos = load_model(str(folder), PLACE)
    assert with_bos.document_start == with_bos.tokenizer.convert_tokens_to_ids("<|im_start|>")


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json: no such file"):
        load_model(str(small_tokenizer.train(tmp_path)), PLACE)
    with pytest.raises(UserError, match="no such directory"):
        load_model(str(tmp_path / "nowhere"), PLACE)
