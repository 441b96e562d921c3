"""A dataset of another tokenizer is told by its manifest, or by the first id that the model does not have."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from megatron_redone.datasets.token_stream import TokenStream
from megatron_redone.datasets.vocabulary import Vocabulary
from megatron_redone.errors import UserError
from megatron_redone.formats.manifest import TOKENS


@pytest.mark.parametrize("bad", [999, -1])
def test_an_id_beyond_the_vocabulary_is_named(write_dataset, bad: int) -> None:
    prefix = write_dataset([40, 40, 40], vocab=500)
    tokens = np.memmap(f"{prefix}.bin", np.int32, "r+")
    tokens[50] = bad
    tokens.flush()
    stream = TokenStream(prefix, seq_length=20, seed=0, shuffle=False, vocabulary=Vocabulary(size=500))
    stream.tokens(1)
    with pytest.raises(UserError, match=rf"token 10 of document 1 has id {bad}, .* ends at 499"):
        stream.tokens(2)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({"tokenizer": {"fingerprint": "abc", "vocab_size": 500}}, None),
        ({"tokenizer": {"fingerprint": "xyz", "vocab_size": 500}}, "made with tokenizer xyz, the model's is abc"),
        ({"tokenizer": {"fingerprint": "abc", "vocab_size": 501}}, "tokenizer has 501 ids, the model's vocabulary 500"),
        ({"tokenizer": None}, None),
        ({}, None),
    ],
)
def test_the_manifest_is_compared(write_dataset, manifest, message: str | None) -> None:
    prefix = write_dataset([100])
    Path(f"{prefix}.manifest.json").write_text(json.dumps({"format": TOKENS, **manifest}))
    vocabulary = Vocabulary(size=500, fingerprint="abc")
    if message is None:
        TokenStream(prefix, seq_length=10, seed=0, vocabulary=vocabulary)
    else:
        with pytest.raises(UserError, match=message):
            TokenStream(prefix, seq_length=10, seed=0, vocabulary=vocabulary)


def test_a_damaged_manifest_and_a_name_with_dots(write_dataset, tmp_path: Path) -> None:
    prefix = write_dataset([100])
    for suffix in ("bin", "idx"):
        shutil.copy(f"{prefix}.{suffix}", tmp_path / f"v1.5.{suffix}")
    (tmp_path / "v1.5.manifest.json").write_text("{")
    with pytest.raises(UserError, match=r"v1\.5\.manifest\.json: not readable as JSON"):
        TokenStream(str(tmp_path / "v1.5"), seq_length=10, seed=0, vocabulary=Vocabulary(size=9999))
