"""Greedy answers against transformers' generate one by one, and how answers are compared."""

import json
from pathlib import Path

import pytest
import torch

from megatron_redone.config.evaluate import ComputeDtype
from megatron_redone.config.parallel import Device
from megatron_redone.evaluation.exact_match import compare, evaluate_answers, normalise_items, normalise_label
from megatron_redone.evaluation.examples import ConversationExample
from megatron_redone.generation.chat_prompts import prompt_ids
from megatron_redone.generation.hf_model import LoadedModel, load_model
from megatron_redone.generation.log_probabilities import BatchLimits
from megatron_redone.generation.placement import choose_placement
from megatron_redone.generation.sampling import greedy_answers
from tests.helpers import chat_models

QUESTIONS = ["Which?", "The ferry leaves at nine, the last one back at half past six; which one?", "面好吃吗？",
             "def area(width, height):\n    return width * height\nWhat is it?", "x"]  # fmt: skip
EXAMPLES = [ConversationExample(number, [{"role": "user", "content": text}], "nine")
            for number, text in enumerate(QUESTIONS, 1)]  # fmt: skip


def _alone(model: LoadedModel, question: str, tokens: int) -> str:
    """The answer of generate on one prompt, without any padding."""
    ids = model.tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=False
    )
    output = model.model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=tokens,
        eos_token_id=model.tokenizer.eos_token_id, pad_token_id=0,
    )  # fmt: skip
    return model.tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_padding_changes_no_answer(rows: int, chat_model: LoadedModel) -> None:
    expected = [_alone(chat_model, question, 12) for question in QUESTIONS]
    assert len(set(expected)) > 1 and all(expected)
    prompts = [prompt_ids(chat_model.tokenizer, example.prompt) for example in EXAMPLES]
    found = greedy_answers(chat_model, prompts, 12, BatchLimits(rows=rows, tokens=10_000))
    assert found == expected


def test_an_answer_ends_at_any_end_token(chat_model: LoadedModel) -> None:
    prompt = prompt_ids(chat_model.tokenizer, EXAMPLES[0].prompt)
    [free] = greedy_answers(chat_model, [prompt], 12, BatchLimits(1, 1))
    tokens = chat_model.model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=12, pad_token_id=0)
    third = int(tokens[0, len(prompt) + 2])
    before = list(chat_model.end_ids)
    chat_model.end_ids.append(third)
    try:
        [ended] = greedy_answers(chat_model, [prompt], 12, BatchLimits(1, 1))
    finally:
        chat_model.end_ids[:] = before
    assert free.startswith(ended) and len(ended) < len(free)


def test_settings_of_the_model_that_are_not_greedy_do_not_count(chat_model: LoadedModel, tmp_path: Path) -> None:
    """Qwen2.5's own ask for sampling and for a penalty on repetition."""
    folder = chat_models.write(tmp_path)
    settings = {"do_sample": True, "temperature": 1.5, "repetition_penalty": 5.0, "max_length": 7, "eos_token_id": 3}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    other = load_model(str(folder), choose_placement(Device.cpu, ComputeDtype.fp32))
    assert 3 in other.end_ids
    prompts = [prompt_ids(chat_model.tokenizer, example.prompt) for example in EXAMPLES]
    expected = [_alone(chat_model, question, 12) for question in QUESTIONS]
    assert greedy_answers(other, prompts, 12, BatchLimits(2, 10_000)) == expected


def test_a_conversation_is_answered_and_compared(chat_model: LoadedModel) -> None:
    answer = _alone(chat_model, QUESTIONS[0], 30).splitlines()[0]
    examples = [ConversationExample(1, EXAMPLES[0].prompt, f"  {answer.upper()}\n"), EXAMPLES[1]]
    found = evaluate_answers(
        chat_model, examples, expects_items=False, max_new_tokens=None, max_tokens=256,
        limits=BatchLimits(4, 1000),
    )  # fmt: skip
    assert [result["exact"] for result in found] == [1.0, 0.0]
    assert found[1]["expected"] == "nine" and found[1]["answer"]


def test_thoughts_before_an_answer_are_no_part_of_it_and_open_ones_are_told(
    chat_model: LoadedModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    written = ["<think>\nten?\n</think>\n\nNine.", "nine", "<think>\nnine", "<think>a</think>nine<think>", "ten"]
    monkeypatch.setattr("megatron_redone.evaluation.exact_match.greedy_answers", lambda *_: written)
    found = evaluate_answers(
        chat_model, EXAMPLES, expects_items=False, max_new_tokens=7, max_tokens=256, limits=BatchLimits(4, 1000)
    )
    assert [result["exact"] for result in found] == [1, 1, 0, 0, 0]
    assert found[0]["answer"] == "Nine."
    [warning] = caplog.messages
    assert warning.startswith("2 of 5 answers are thoughts that 7 tokens do not end")


def test_thoughts_of_an_expected_answer_are_not_asked_for(
    chat_model: LoadedModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = "<think>\nnot ten\n</think>\n\nnine"
    written = ["nine", f"{expected}.", "<think>\n\n</think>\n\nten"]
    monkeypatch.setattr("megatron_redone.evaluation.exact_match.greedy_answers", lambda *_: written)
    found = evaluate_answers(
        chat_model, [ConversationExample(number, EXAMPLES[0].prompt, expected) for number in range(3)],
        expects_items=False, max_new_tokens=None, max_tokens=256, limits=BatchLimits(4, 1000),
    )  # fmt: skip
    assert [result["exact"] for result in found] == [1, 1, 0] and not caplog.messages


@pytest.mark.parametrize(
    ("expected", "answer", "equal"),
    [
        ("joy", "Joy.", True),
        ("joy", "\n  “JOY”\nbecause the comment is happy", True),
        ("joy", "The answer is joy", False),
        ("ＪＯＹ！", "joy", True),
        ("冷漠", "冷漠。", True),
        ("#travel", "#Travel", True),
        ("#travel", "travel", False),
        ("very  happy", "Very happy", True),
        ("joy", "", False),
        ("?!", "?!", True),
        ("?!", "", False),
        ("50%", "50", False),
        ("1", "-1", False),
        ("-1", "**-1**", True),
        ("-1", "\u22121", True),
        ("-1", "\u20131.", True),
        ("-.5", "5", False),
        ("joy", "- joy", True),
        ("joy", "-joy-", True),
        ("1", "1-", True),
    ],
)
def test_labels(expected: str, answer: str, equal: bool) -> None:
    assert (normalise_label(expected) == normalise_label(answer)) is equal
    assert compare(expected, answer, expects_items=False) == {"exact": float(equal)}


@pytest.mark.parametrize(
    ("expected", "answer", "exact", "f1"),
    [
        ("a, b", "B\nA.", 1.0, 1.0),
        ('["a", "b"]', "a、b", 1.0, 1.0),
        ("a, b, c", "- a\n- b\n- d", 0.0, 2 * 2 / 6),
        ("上海，北京", "1. 上海\n2. 北京", 1.0, 1.0),
        ("[]", "[]", 1.0, 1.0),
        ("[]", "a", 0.0, 0.0),
        ("a", "", 0.0, 0.0),
        ("-1, 2", "1, 2", 0.0, 0.5),
        ("-1, 2", "- \u22121\n- 2", 1.0, 1.0),
    ],
)
def test_items(expected: str, answer: str, exact: float, f1: float) -> None:
    assert compare(expected, answer, expects_items=True) == {"exact": exact, "f1": pytest.approx(f1)}


def test_a_number_that_is_an_item_stays() -> None:
    assert normalise_items("3.5, 12") == {"3.5", "12"}
