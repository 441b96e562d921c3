"""Which tokenizer belongs to a model, and what the data is compared with."""

import logging
from pathlib import Path

import pytest

from megatron_redone.errors import UserError
from megatron_redone.training.model_vocabulary import find_tokenizer, model_vocabulary
from tests.helpers import hf_models, small_tokenizer


def test_a_named_folder_goes_before_the_one_beside_the_model(tmp_path: Path) -> None:
    config = tmp_path / "model" / "config.json"
    config.parent.mkdir()
    assert find_tokenizer(None, config) is None
    (config.parent / "tokenizer.model").write_bytes(b"")
    assert find_tokenizer(None, config) == config.parent
    (config.parent / "tokenizer.model").rename(config.parent / "tokenizer.json")
    assert find_tokenizer(None, config) == config.parent
    assert find_tokenizer(str(tmp_path), config) == tmp_path
    with pytest.raises(UserError, match=r"tokenizer: .*none: no such directory"):
        find_tokenizer(str(tmp_path / "none"), config)


def test_the_data_is_compared_with_the_tokenizer_and_the_embedding(tmp_path: Path) -> None:
    shape = hf_models.architecture("qwen2_tied")
    folder = small_tokenizer.train(tmp_path)
    vocabulary = model_vocabulary(shape, folder)
    assert vocabulary.size == 500 != small_tokenizer.load(folder).vocab_size
    assert vocabulary.fingerprint == small_tokenizer.load(folder).fingerprint()


def test_without_a_tokenizer_it_is_said_that_nothing_is_checked(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        vocabulary = model_vocabulary(hf_models.architecture("qwen2_tied"), None)
    assert (vocabulary.size, vocabulary.fingerprint) == (500, None)
    assert "is not checked" in caplog.text
