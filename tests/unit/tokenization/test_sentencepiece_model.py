"""Ids are those of the `sentencepiece` library."""

from pathlib import Path

import pytest
import sentencepiece

from megatron_redone.errors import UserError
from megatron_redone.tokenization.probe import probe_texts
from megatron_redone.tokenization.sentencepiece_model import SentencePieceReference
from tests.helpers import small_tokenizer
from tests.helpers.small_tokenizer import batch_ids, load

SPECIAL = [*small_tokenizer.SPECIAL, "<s>", "</s>", "<unk>"]


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize("normalisation", ["identity", "nmt_nfkc"])
def test_sentencepiece_models(tmp_path: Path, kind: str, normalisation: str) -> None:
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(small_tokenizer.TEXT * 5), model_prefix=str(tmp_path / "m"), vocab_size=420,
        model_type=kind, byte_fallback=True, minloglevel=2, normalization_rule_name=normalisation,
        hard_vocab_limit=False,
    )  # fmt: skip
    tokenizer = load(tmp_path / "m.model")
    reference = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "m.model"))
    texts = [*small_tokenizer.TEXT, *probe_texts(SPECIAL)]
    assert batch_ids(tokenizer, texts) == [reference.encode(text) for text in texts]
    if kind == "unigram":
        assert tokenizer.slow_because == "gigatoken does not know this kind of tokenizer"
    assert tokenizer.eod_id == reference.eos_id()


def test_control_symbols_are_no_text_and_cannot_be_parsed(tmp_path: Path) -> None:
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(small_tokenizer.TEXT * 5), model_prefix=str(tmp_path / "m"), vocab_size=420,
        model_type="bpe", byte_fallback=True, minloglevel=2, hard_vocab_limit=False,
    )  # fmt: skip
    ours = SentencePieceReference(tmp_path / "m.model", parse_special_tokens=False)
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "m.model"))
    assert ours.special_tokens == {"<s>": theirs.bos_id(), "</s>": theirs.eos_id()}
    assert ours.token_id("</s>") == theirs.eos_id() and ours.token_id("no such piece") is None
    [ids] = ours.encode_batch(["the ferry</s>"])
    assert theirs.eos_id() not in ids and ours.decode(ids) == "the ferry</s>"
    with pytest.raises(UserError, match="SentencePiece does not parse them"):
        SentencePieceReference(tmp_path / "m.model", parse_special_tokens=True)
    (tmp_path / "m.model").write_bytes((tmp_path / "m.model").read_bytes()[:-20])
    with pytest.raises(UserError, match=r"m\.model: not a SentencePiece model"):
        SentencePieceReference(tmp_path / "m.model", parse_special_tokens=False)
