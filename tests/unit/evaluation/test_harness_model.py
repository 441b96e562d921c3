"""Our models answer the harness as its own class for transformers does."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from megatron_redone.errors import UserError
from megatron_redone.evaluation.harness_model import Asking, HarnessModel
from megatron_redone.evaluation.response_journal import ResponseJournal
from megatron_redone.evaluation.thinking import Thinking
from megatron_redone.generation.hf_model import LoadedModel
from megatron_redone.generation.log_probabilities import BatchLimits

SHOTS = "Question: what is blue\nAnswer: the sky\n\n" * 6
ASKING = Asking(limits=BatchLimits(8, 4096), max_tokens=2048, thinking=Thinking())


@pytest.fixture(scope="module")
def theirs(chat_folder: Path) -> Any:
    return HFLM(pretrained=str(chat_folder), device="cpu", dtype="float32", batch_size=1)


def requests(kind: Any, arguments: Sequence[Any]) -> list[Instance]:
    return [Instance(kind, {}, args, 0, metadata=("t", number, 1)) for number, args in enumerate(arguments)]


def pairs() -> list[tuple[str, str]]:
    asked = [f"{SHOTS}Question: is it {word}\nAnswer:" for word in ("red", "a long way from here", "so", "now")]
    return [(text, f" {answer}") for text in asked for answer in ("yes", "no", "perhaps it is")] + [
        ("", "a text that nothing precedes"),
        ("trailing space ", "here"),
    ]


def test_log_likelihoods_are_those_of_the_harness(chat_model: LoadedModel, theirs: Any) -> None:
    asked = requests("loglikelihood", pairs())
    ours = HarnessModel(chat_model, ASKING).loglikelihood(asked)
    expected = theirs.loglikelihood(asked, disable_tqdm=True)
    np.testing.assert_allclose([value for value, _ in ours], [value for value, _ in expected], rtol=0, atol=1e-4)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in expected]


def test_rolling_log_likelihoods_are_those_of_the_harness(chat_model: LoadedModel, theirs: Any) -> None:
    asked = requests("loglikelihood_rolling", [("one text " * 400,), ("another",)])
    ours = HarnessModel(chat_model, ASKING).loglikelihood_rolling(asked)
    np.testing.assert_allclose(ours, theirs.loglikelihood_rolling(asked, disable_tqdm=True), rtol=1e-5)


def test_answers_are_those_of_the_harness(chat_model: LoadedModel, theirs: Any) -> None:
    how = {"until": ["e"], "max_gen_toks": 12, "do_sample": False}
    asked = requests("generate_until", [(text, how) for text, _ in pairs()[:12:3]])
    ours = HarnessModel(chat_model, ASKING).generate_until(asked)
    assert ours == theirs.generate_until(asked, disable_tqdm=True)
    with pytest.raises(UserError, match="do_sample: false"):
        HarnessModel(chat_model, ASKING).generate_until(requests("generate_until", [("x", {"do_sample": True})]))


def test_what_is_too_long_loses_its_beginning_and_is_told(chat_model: LoadedModel) -> None:
    short = Asking(limits=ASKING.limits, max_tokens=40, thinking=Thinking())
    model = HarnessModel(chat_model, short)
    [long, other] = model.loglikelihood(requests("loglikelihood", [(SHOTS, " yes"), ("so", " yes")]))
    assert model.shortened == {SHOTS}
    assert long[0] < 0 > other[0]


def test_a_killed_run_asks_for_the_rest_alone(
    chat_model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = {"until": [], "max_gen_toks": 6}
    asked = requests("generate_until", [(text, how) for text, _ in pairs()[:12:3]])
    file = tmp_path / "a" / "task.partial.jsonl"
    whole = HarnessModel(chat_model, ASKING, responses=ResponseJournal(file, "w")).generate_until(asked)
    lines = file.read_bytes().splitlines(keepends=True)
    assert len(lines) == 5
    file.write_bytes(b"".join(lines[:3]) + lines[3][: len(lines[3]) // 2])
    asked_again: list[int] = []
    model = HarnessModel(chat_model, ASKING, responses=ResponseJournal(file, "w"))
    answers = model._of_prompts

    def counted(missing: list[Instance]) -> list[str]:
        asked_again.append(len(missing))
        return answers(missing)

    monkeypatch.setattr(model, "_of_prompts", counted)
    assert model.generate_until(asked) == whole
    assert asked_again == [2]
    other = ResponseJournal(file, "other work")
    assert len(other) == 0


def test_a_model_without_a_chat_template_is_a_line(chat_model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_model.tokenizer, "chat_template", None)
    with pytest.raises(UserError, match="has no chat template; name one with chat_template"):
        HarnessModel(chat_model, ASKING).apply_chat_template([{"role": "user", "content": "x"}])


class Scripted:
    """A model that goes on with what a script says, in the place of `greedy_answers`."""

    def __init__(self, script: dict[str, str]) -> None:
        self.script, self.asked = script, []

    def __call__(self, model: Any, prompts: Any, tokens: int, limits: Any, *rest: Any, **options: Any) -> list[str]:
        texts = [model.tokenizer.decode(prompt) for prompt in prompts]
        self.asked.append((tokens, texts))
        stops = options.get("stops") or (rest[1] if len(rest) > 1 else ())
        found = [next(value for name, value in self.script.items() if text.endswith(name)) for text in texts]
        for stop in stops:
            found = [text.split(stop)[0] for text in found]
        if len(rest) > 2:
            rest[2](range(len(found)), found)
        return found


def test_thoughts_have_a_budget_of_their_own(chat_model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Scripted(
        {
            "closed": "<think>a.b</think> unread",
            "open": "<think>on and on",
            "atonce": "so. it is",
            "a.b\n</think>\n\n": "first. more",
            "on and on\n</think>\n\n": "second",
        }
    )
    monkeypatch.setattr("megatron_redone.evaluation.thinking.greedy_answers", script)
    asking = Asking(limits=ASKING.limits, max_tokens=2048, thinking=Thinking(True, 50))
    how = {"until": ["."], "max_gen_toks": 7}
    asked = requests("generate_until", [("closed", how), ("open", how), ("atonce", how)])
    assert HarnessModel(chat_model, asking).generate_until(asked) == ["first", "second", "so"]
    assert [tokens for tokens, _ in script.asked] == [50, 7]


def test_a_thought_that_goes_on_behind_its_budget_is_no_answer_before_and_after_a_resume(
    chat_model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Scripted({"open": "<think>on and", "on and\n</think>\n\n": "on, cut\n</think>\n\njoy"})
    monkeypatch.setattr("megatron_redone.evaluation.thinking.greedy_answers", script)
    asking = Asking(limits=ASKING.limits, max_tokens=2048, thinking=Thinking(True, 50))
    asked = requests("generate_until", [("open", {"until": [], "max_gen_toks": 7})])
    for _ in ("first", "resumed"):
        model = HarnessModel(chat_model, asking, responses=ResponseJournal(tmp_path / "j", "w"))
        assert model.generate_until(asked) == ["joy"]
    assert len(script.asked) == 2


def test_a_thought_that_nobody_asked_for_is_no_answer(chat_model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Scripted({"x": "<think>Yes</think>\n\nNo"})
    monkeypatch.setattr("megatron_redone.evaluation.harness_model.greedy_answers", script)
    asked = requests("generate_until", [("x", {"until": [], "max_gen_toks": 7})])
    assert HarnessModel(chat_model, ASKING).generate_until(asked) == ["No"]


def test_a_journal_holds_what_json_does(tmp_path: Path) -> None:
    journal = ResponseJournal(tmp_path / "j", "w")
    journal.add("loglikelihood", ("a", "b"), [-1.5, True])
    assert ResponseJournal(tmp_path / "j", "w").find("loglikelihood", ("a", "b")) == [-1.5, True]
    assert json.loads((tmp_path / "j").read_text().splitlines()[0]) == {"work": "w"}
