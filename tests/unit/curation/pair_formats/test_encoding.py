"""Pairs to ids and masks: both sides are the rendered texts, trained where the response is, and nowhere else."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from megatron_redone.config.chat_source import OnLostAnswer
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
from tests.helpers.shared_data import TOKENIZER, needs_shared_data

DIALOGUE = [
    {"role": "user", "content": "Why?"},
    {"role": "assistant", "content": "So."},
    {"role": "user", "content": "周末去哪"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_tokenizer.train(tmp_path_factory.mktemp("tokenizer"))


def encode(
    folder: Path,
    records: list[Any],
    template: str = CHATML,
    format: PreferenceFormat = PreferenceFormat.trl,
    **more: Any,
) -> EncodedBatch:
    config = PreparePreferencesConfig(
        sources=[PreferenceSource(input=["x"], name="x")],
        tokenizer=TokenizerConfig(path=str(folder)),
        output_dir="x",
        **more,
    )
    encoder = PairEncoder(config, ChatTemplateFile(template, template, "x"), datetime(2025, 7, 10))
    raw = [RawRecord(line, json.dumps(record).encode()) for line, record in enumerate(records, 7)]
    return encoder.encode(RawChats(0, format, RawBatch("x", raw)))


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


# Writes a reasoning as Qwen3's does.
THINKING = CHATML.replace(
    "{{ m.content }}",
    "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}{{ m.content }}",
)


def test_responses_are_the_same_when_their_tokens_are(folder: Path) -> None:
    """They may differ in their reasoning, or in spaces, where the template renders these; by it alone it is decided."""
    reasoned = [
        [{"role": "assistant", "content": "2", "reasoning_content": text}] for text in ("One and one.", "A guess.")
    ]
    records = [
        {"prompt": [{"role": "user", "content": "1+1?"}], "chosen": reasoned[0], "rejected": reasoned[1]},
        pair("return 1  ", "return 1", "Write the body of f."),
    ]
    thinking, plain, trimming = (
        encode(folder, records, template, on_lost_answer=OnLostAnswer.keep)
        for template in (THINKING, CHATML, CHATML.replace("m.content", "m.content|trim"))
    )
    assert len(thinking.items) == 2 and not thinking.invalid
    assert [record.place for record in plain.invalid] == [7] and len(plain.items) == 1
    assert [record.reason for record in trimming.invalid] == ["chosen and rejected are the same"] * 2
    strict = encode(folder, records, CHATML)
    assert [record.reason for record in strict.invalid] == [
        "the chat template leaves out a part of an answer: reasoning"
    ]
    assert strict.lost_parts == plain.lost_parts == {"reasoning": 2}


@needs_shared_data
def test_spaces_that_begin_a_response_tell_it_apart() -> None:
    """Qwen's tokenizer does not put them into one token with the line break before them."""
    batch = encode(TOKENIZER, [pair("    return 1", "return 1", "Write the body of f.")])
    assert len(batch.items) == 1 and not batch.invalid


def test_weights_of_a_response_are_none_or_refused(folder: Path) -> None:
    def response(weight: float) -> list[dict[str, Any]]:
        return [*DIALOGUE[1:2], {"role": "assistant", "content": "WRONG", "weight": weight}]

    records = [{"prompt": DIALOGUE, "chosen": response(weight), "rejected": "No."} for weight in (0, 0.5)]
    batch = encode(folder, records)
    assert [record.reason for record in batch.invalid] == ["a weight between 0 and 1, which has no meaning in a pair"]
    (item,) = batch.items
    theirs = Tokenizer.from_file(str(folder / "tokenizer.json"))
    trained = theirs.decode(item.tokens[: item.lengths[0]][item.loss_mask[: item.lengths[0]] == 1].tolist())
    assert "So." in trained and "WRONG" not in trained
    nothing = encode(folder, [{"prompt": DIALOGUE, "chosen": response(0)[1:], "rejected": "No."}])
    assert [record.reason for record in nothing.invalid] == ["a response of which nothing is to be learned"]


def test_responses_between_the_best_and_the_worst_are_counted(folder: Path) -> None:
    completions = [{"rank": n, "completion": [{"role": "assistant", "content": str(n)}]} for n in range(4)]
    batch = encode(folder, [{"context": DIALOGUE, "completions": completions}], format=PreferenceFormat.nemo_rl)
    assert len(batch.items) == 1 and batch.unused_responses == 2
