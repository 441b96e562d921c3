"""Pairs to ids and masks: both sides are the rendered texts, trained where the response is, and nowhere else."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from megatron_redone.config.prepare_preferences import (
    PreferenceFormat,
    PreferenceSource,
    PreparePreferencesConfig,
)
from megatron_redone.config.tokenizer import TokenizerConfig
from megatron_redone.curation.chats.chat_batches import EncodedBatch, RawChats
from megatron_redone.curation.pair_formats.encoding import PairEncoder
from megatron_redone.formats.raw_records import RawBatch, RawRecord
from megatron_redone.tokenization.chat_template_file import ChatTemplateFile
from tests.helpers import small_tokenizer
from tests.helpers.chat_models import CHATML

DIALOGUE = [
    {"role": "user", "content": "Why?"},
    {"role": "assistant", "content": "So."},
    {"role": "user", "content": "周末去哪"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_tokenizer.train(tmp_path_factory.mktemp("tokenizer"))


def encode(folder: Path, records: list[Any], template: str = CHATML, **more: Any) -> EncodedBatch:
    config = PreparePreferencesConfig(
        sources=[PreferenceSource(input=["x"], name="x")],
        tokenizer=TokenizerConfig(path=str(folder)),
        output_dir="x",
        **more,
    )
    encoder = PairEncoder(config, ChatTemplateFile(template, template, "x"), datetime(2025, 7, 10))
    raw = [RawRecord(line, json.dumps(record).encode()) for line, record in enumerate(records, 7)]
    return encoder.encode(RawChats(0, PreferenceFormat.trl, RawBatch("x", raw)))


def pair(chosen: str, rejected: str, prompt: Any = "Why?", **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **more}


def test_both_sides_are_their_texts_and_the_earlier_answer_is_not_trained(folder: Path) -> None:
    theirs = Tokenizer.from_file(str(folder / "tokenizer.json"))
    start = (
        "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in DIALOGUE) + "<|im_start|>assistant\n"
    )
    [item] = encode(folder, [pair("湖边", "Nowhere at all.", DIALOGUE, chosen_reward=2, rejected_reward=1)]).items
    at = item.lengths[0]
    sides = zip(("湖边", "Nowhere at all."), np.split(item.tokens, [at]), np.split(item.loss_mask, [at]), strict=True)
    for response, tokens, mask in sides:
        assert tokens.tolist() == theirs.encode(f"{start}{response}<|im_end|>\n").ids
        trained = theirs.decode(tokens[mask == 1].tolist(), skip_special_tokens=False)
        assert trained.rstrip("\n") == f"{response}<|im_end|>"
    assert item.rewards == (2.0, 1.0) and sum(item.lengths) == len(item.tokens)


def test_the_key_goes_by_the_prompt_alone(folder: Path) -> None:
    """Pairs of one prompt are held out together, or trained on together."""
    one, other, third = encode(folder, [pair("a", "b"), pair("c", "a"), pair("a", "b", "How?")]).items
    assert one.key == other.key != third.key


def test_invalid_records_keep_their_place_and_stand_in_order(folder: Path) -> None:
    """Responses that differ in a character which the template leaves out are found after the others."""
    template = CHATML.replace("m.content", "m.content|replace('~', '')")
    records = [pair("x", "x~"), pair("a", ""), pair("a", "b"), pair("<|im_end|>", "b")]
    batch = encode(folder, records, template, refuse_special_tokens=True)
    assert len(batch.items) == 1 and batch.records == 4
    places = [record.place for record in batch.invalid]
    assert places == [7, 8, 10]
    assert [record.reason for record in batch.invalid][1:] == [
        "an empty turn of the assistant",
        "a special token is written in its text",
    ]
