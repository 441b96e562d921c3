"""How many rows of a text are compared on a pipeline."""

from pathlib import Path

import pytest

from megatron_redone.config.parallel import ParallelConfig
from megatron_redone.config.verify import VerifyConfig
from megatron_redone.errors import UserError
from megatron_redone.stages import verify

PLAIN = {"pipeline_model_parallel_size": 2}
INTERLEAVED = {"pipeline_model_parallel_size": 2, "virtual_pipeline_model_parallel_size": 2}


class _Tokenizer:
    """A token a letter."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def encode(self, text: str) -> list[int]:
        return [ord(letter) % 50 for letter in text]


def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, letters: int, parallel: dict[str, int]) -> int:
    (tmp_path / "text").write_text("abcdefg" * 100)
    monkeypatch.setattr(verify, "Tokenizer", _Tokenizer)
    monkeypatch.setattr(verify, "_text", lambda _: ("abcdefg" * 100)[:letters])
    config = VerifyConfig(hf=str(tmp_path), rows=count, seq_length=16, parallel=ParallelConfig(**parallel))
    batches = verify._micro_batches(config, tmp_path)
    text = [token for batch in batches for token in batch.tokens[0].tolist()]
    assert text == _Tokenizer().encode("abcdefg" * 100)[: 16 * len(batches)]
    return len(batches)


def test_a_plain_pipeline_takes_any_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rows(tmp_path, monkeypatch, 1, 700, PLAIN) == 1
    assert rows(tmp_path, monkeypatch, 3, 700, PLAIN) == 3
    assert rows(tmp_path, monkeypatch, 9, 16 * 3 + 1, {}) == 3, "no more than the text has"


def test_an_interleaved_pipeline_takes_them_by_its_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rows(tmp_path, monkeypatch, 5, 700, INTERLEAVED) == 4
    with pytest.raises(UserError, match=r"rows: there are 1 \(1 asked for, the text has 43\).* needs at least 2"):
        rows(tmp_path, monkeypatch, 1, 700, INTERLEAVED)
    with pytest.raises(UserError, match=r"rows: there are 1 \(5 asked for, the text has 1\)"):
        rows(tmp_path, monkeypatch, 5, 20, INTERLEAVED)


def test_a_text_without_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="the text has 16 tokens, fewer than one row of 16 and the next token"):
        rows(tmp_path, monkeypatch, 5, 16, {})
