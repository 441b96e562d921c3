"""Likelihoods and drawn answers against transformers' own loss and `generate`; vLLM where it is installed."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from megatron_redone.config.build_preferences import Engine, Likelihood, PolicyConfig, SamplingConfig
from megatron_redone.curation.pair_building.answer_cache import AnswerCache
from megatron_redone.errors import UserError
from megatron_redone.generation import policy_engine
from megatron_redone.generation.policy import Policy
from megatron_redone.generation.policy_engine import EngineCache
from tests.helpers import hf_folders, small_tokenizer

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PROMPTS = [[{"role": "user", "content": text}] for text in [*small_tokenizer.TEXT, "hi"]]
ANSWERS = ["on deck", "老板还送了一碟小菜", "the best dumplings of my life", "x"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = hf_folders.write(tmp_path_factory.mktemp("policy"), "qwen2_tied")
    (path / "chat_template.jinja").write_text(TEMPLATE)
    return path


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(folder)


def open_policy(folder: Path, cache: AnswerCache, likelihood: str = "sum", **more: Any) -> Policy:
    return Policy(PolicyConfig(path=str(folder), **more), Likelihood[likelihood], cache, EngineCache())


def their_log_prob(theirs: Any, tokenizer: Any, messages: Any, answer: str) -> tuple[float, int]:
    """By the loss that transformers computes from labels; the sum, and over how many tokens."""
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    whole = prompt + tokenizer(answer + "<|im_end|>", add_special_tokens=False)["input_ids"]
    labels = torch.tensor([[-100] * len(prompt) + whole[len(prompt) :]])
    count = len(whole) - len(prompt)
    with torch.no_grad():
        return -theirs(torch.tensor([whole]), labels=labels).loss.item() * count, count


@pytest.mark.parametrize("rows", [1, 3])
def test_likelihoods_are_transformers_own(folder: Path, theirs: Any, tokenizer: Any, tmp_path: Path, rows: int) -> None:
    pairs = [(messages, answer) for messages in PROMPTS for answer in ANSWERS]
    expected = [their_log_prob(theirs, tokenizer, *pair) for pair in pairs]
    with AnswerCache(tmp_path / "a.jsonl") as cache:
        sums = open_policy(folder, cache, batch_size=rows).log_probs(pairs)
        means = open_policy(folder, cache, "mean", batch_size=rows).log_probs(pairs)
    assert sums == pytest.approx([total for total, _ in expected], rel=1e-5)
    assert means == pytest.approx([total / count for total, count in expected], rel=1e-5)


def test_greedy_answers_are_those_of_generate(folder: Path, theirs: Any, tokenizer: Any, tmp_path: Path) -> None:
    with AnswerCache(tmp_path / "a.jsonl") as cache:
        sampling = SamplingConfig(samples=1, temperature=0, max_new_tokens=12)
        drawn = open_policy(folder, cache, batch_size=2).sample(PROMPTS, sampling)
    for messages, texts in zip(PROMPTS, drawn, strict=True):
        prompt = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=False
        )
        output = theirs.generate(prompt, do_sample=False, max_new_tokens=12, pad_token_id=0)
        assert texts == [tokenizer.decode(output[0, prompt.shape[1] :], skip_special_tokens=True).strip()]


def test_a_draw_repeats_itself_also_after_an_interruption(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampling = SamplingConfig(samples=3, max_new_tokens=6, seed=5)
    with AnswerCache(tmp_path / "whole.jsonl") as cache:
        whole = open_policy(folder, cache, batch_size=2).sample(PROMPTS, sampling)
        other = open_policy(folder, cache, batch_size=2).sample(PROMPTS, SamplingConfig(samples=3, max_new_tokens=6))
    assert all(answers is not None and len(answers) == 3 for answers in whole) and other != whole
    lines = (tmp_path / "whole.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "part.jsonl").write_bytes(b"".join(lines[:3]))
    with AnswerCache(tmp_path / "part.jsonl") as cache:
        assert open_policy(folder, cache, batch_size=2).sample(PROMPTS, sampling) == whole
    with AnswerCache(tmp_path / "whole.jsonl") as cache:
        monkeypatch.setattr(policy_engine, "load_engine", None)  # nothing is left to compute
        assert open_policy(folder, cache, batch_size=2).sample(PROMPTS, sampling) == whole


def test_answers_end_where_the_model_ends_them(folder: Path, tokenizer: Any) -> None:
    """The directory's generation_config names 2 (<|im_end|>) and 5 as the tokens that end an answer."""
    from megatron_redone.generation.transformers_engine import TransformersEngine

    engine = TransformersEngine(PolicyConfig(path=str(folder)))
    prompt = tokenizer("ferry")["input_ids"]
    drawn = engine.sample([prompt] * 4, SamplingConfig(samples=50, max_new_tokens=40, temperature=2.0), seed=0)
    answers = [answer for rows in drawn for answer in rows]
    assert len(answers) == 200 and not any({2, 5} & set(answer) for answer in answers)
    assert 0 < sum(len(answer) < 40 for answer in answers) < 200


def test_what_is_too_long_is_left_out(folder: Path, tmp_path: Path) -> None:
    with AnswerCache(tmp_path / "a.jsonl") as cache:
        policy = open_policy(folder, cache, max_tokens=30)
        values = policy.log_probs([(PROMPTS[-1], "x"), (PROMPTS[1], "x")])
        assert values[0] is not None and values[1] is None
        drawn = policy.sample([PROMPTS[1], PROMPTS[-1]], SamplingConfig(samples=1, max_new_tokens=8))
        assert drawn[0] is None and drawn[1] is not None and len(drawn[1]) == 1


def test_directories_that_are_no_policy(folder: Path, tmp_path: Path) -> None:
    with AnswerCache(tmp_path / "a.jsonl") as cache:
        with pytest.raises(UserError, match=r"config\.json: no such file"):
            open_policy(small_tokenizer.train(tmp_path / "empty"), cache)
        plain = hf_folders.write(tmp_path / "plain", "qwen2_tied")
        (plain / "chat_template.jinja").unlink()
        with pytest.raises(UserError, match="no chat template; name one with chat_template="):
            open_policy(plain, cache).log_probs([(PROMPTS[0], "x")])
        with pytest.raises(UserError, match=r"chat_template: none\.jinja cannot be read"):
            open_policy(plain, cache, chat_template="none.jinja")
        (tmp_path / "own.jinja").write_text(TEMPLATE)
        own = open_policy(plain, cache, chat_template=str(tmp_path / "own.jinja"))
        assert own.log_probs([(PROMPTS[0], "x")])[0] is not None


def test_vllm_gives_the_same(tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    folder = hf_folders.write(tmp_path / "policy", "qwen2_tied", hidden_size=256)  # its kernels want wider heads
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    pairs = [(messages, answer) for messages in PROMPTS for answer in ANSWERS]
    greedy = SamplingConfig(samples=1, temperature=0, max_new_tokens=8)
    drawn = SamplingConfig(samples=3, max_new_tokens=8)
    with AnswerCache(tmp_path / "a.jsonl") as cache, AnswerCache(tmp_path / "b.jsonl") as other:
        expected = open_policy(folder, cache, engine=Engine.transformers, max_tokens=200)
        policy = open_policy(folder, other, engine=Engine.vllm, max_tokens=200)
        assert policy.log_probs(pairs) == pytest.approx(expected.log_probs(pairs), rel=1e-3)
        assert policy.sample(PROMPTS, greedy) == expected.sample(PROMPTS, greedy)
        assert all(answers is not None and len(answers) == 3 for answers in policy.sample(PROMPTS, drawn))
