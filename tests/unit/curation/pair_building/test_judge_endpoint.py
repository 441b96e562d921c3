"""The judge behind a server: what is asked, what is retried, and that no answer is paid for twice."""

import re
import time
from pathlib import Path
from typing import Any

import openai
import pytest

from megatron_redone.config.build_preferences import EndpointConfig
from megatron_redone.curation.pair_building.answer_cache import AnswerCache
from megatron_redone.curation.pair_building.judge import NoAnswer, Question, Verdict, ask_both_orders
from megatron_redone.curation.pair_building.judge_endpoint import judge_from_endpoint, read_scores
from megatron_redone.errors import UserError
from tests.helpers.chat_server import chat_server, completion

PROMPT = "Q: {question}\nA: {first}\nB: {second}\nScores?"


def questions(count: int) -> list[Question]:
    prompt = [{"role": "user", "content": "why?"}]
    return [Question(str(i), prompt, (1, 2), f"short {i}", f"rather longer {i}") for i in range(count)]


def by_length(body: dict[str, Any], _: int) -> Any:
    """A judge that counts letters."""
    first, second = re.search(r"A: (.*)\nB: (.*)\n", body["messages"][0]["content"]).groups()  # type: ignore[union-attr]
    return completion(f"They differ.\n**Scores:** {len(first)} {len(second)}")


def ask(config: EndpointConfig, folder: Path, count: int) -> list[Verdict | NoAnswer]:
    with AnswerCache(folder / "answers.jsonl") as cache:
        return ask_both_orders(judge_from_endpoint(config, cache), questions(count))


def endpoint(url: str, **more: Any) -> EndpointConfig:
    return EndpointConfig(
        **{"base_url": url, "model": "judge-1", "prompt": PROMPT, "retries": 2, "timeout_s": 5, **more}
    )


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai._base_client, "INITIAL_RETRY_DELAY", 0.01)


def test_both_orders_are_asked_in_the_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "secret")
    with chat_server(by_length) as server:
        verdicts = ask(endpoint(server.base_url, api_key_env="JUDGE_KEY", max_tokens=64), tmp_path, 3)
    assert verdicts == [Verdict((7, 15), (7, 15))] * 3
    assert sorted(server.questions)[:2] == [
        "Q: why?\nA: rather longer 0\nB: short 0\nScores?",
        "Q: why?\nA: rather longer 1\nB: short 1\nScores?",
    ]
    for path, headers, body in server.requests:
        assert path == "/v1/chat/completions" and headers["authorization"] == "Bearer secret"
        assert (body["model"], body["temperature"], body["max_tokens"]) == ("judge-1", 0.0, 64)
    assert b"secret" not in (tmp_path / "answers.jsonl").read_bytes()


def test_no_answer_is_asked_for_twice(tmp_path: Path) -> None:
    def fails_after_four(body: dict[str, Any], number: int) -> Any:
        return by_length(body, number) if number <= 4 else (503, {}, b"overloaded")

    message = r"no answer after 2 tries \(503 .*: overloaded\).*run the same command again"
    with chat_server(fails_after_four) as server, pytest.raises(UserError, match=message):
        ask(endpoint(server.base_url, retries=1, concurrency=1), tmp_path, 6)
    answered = set(server.questions[:4])
    # The run was killed while it wrote: the last line is torn, and asked for again.
    cache = tmp_path / "answers.jsonl"
    assert cache.read_bytes().count(b"\n") == 4
    cache.write_bytes(cache.read_bytes()[:-9])
    with chat_server(by_length, server.port) as server:
        config = endpoint(server.base_url)
        assert ask(config, tmp_path, 6) == [Verdict((7, 15), (7, 15))] * 6
        assert len(server.questions) == 12 - 3 and len(answered & set(server.questions)) == 1
        assert ask(config, tmp_path, 6) == [Verdict((7, 15), (7, 15))] * 6
        assert len(server.questions) == 12 - 3
        assert len(ask(endpoint(server.base_url, model="judge-2"), tmp_path, 6)) == 6  # another judge: all anew
        assert len(server.questions) == 12 - 3 + 12


def test_another_server_is_another_judge(tmp_path: Path) -> None:
    """Under one name two servers may have two models, or one model in two states."""

    def the_other_way(body: dict[str, Any], number: int) -> Any:
        return completion("Scores: 1 1")

    with chat_server(by_length) as one, chat_server(the_other_way) as other:
        assert ask(endpoint(one.base_url), tmp_path, 2) == [Verdict((7, 15), (7, 15))] * 2
        assert ask(endpoint(other.base_url), tmp_path, 2) == [Verdict((1, 1), (1, 1))] * 2
        assert ask(endpoint(one.base_url + "/"), tmp_path, 2) == [Verdict((7, 15), (7, 15))] * 2
    assert len(one.requests) == len(other.requests) == 4, "a slash at the end names no other server"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(tmp_path: Path, status: int) -> None:
    def busy_at_first(body: dict[str, Any], number: int) -> Any:
        return (status, {"Retry-After": "0"}, b"later") if number % 3 == 1 else by_length(body, number)

    with chat_server(busy_at_first) as server:
        assert ask(endpoint(server.base_url, concurrency=1), tmp_path, 2) == [Verdict((7, 15), (7, 15))] * 2
    assert len(server.requests) == 6


def test_the_wait_that_the_server_asks_for_is_kept(tmp_path: Path) -> None:
    def busy_once(body: dict[str, Any], number: int) -> Any:
        return (429, {"Retry-After": "1"}, b"") if number == 1 else by_length(body, number)

    with chat_server(busy_once) as server:
        start = time.monotonic()
        ask(endpoint(server.base_url, concurrency=1), tmp_path, 1)
    assert time.monotonic() - start >= 1


def test_a_server_that_hangs_or_breaks_off_is_asked_again(tmp_path: Path) -> None:
    def hangs_once(body: dict[str, Any], number: int) -> Any:
        if number == 1:
            time.sleep(1)
        if number == 2:
            return 200, {"Content-Length": "1000"}, b"{"
        return by_length(body, number)

    with chat_server(hangs_once) as server:
        config = endpoint(server.base_url, timeout_s=0.3, concurrency=1, retries=3)
        assert ask(config, tmp_path, 1) == [Verdict((7, 15), (7, 15))]


def test_a_refusal_is_told_at_once_with_the_servers_words(tmp_path: Path) -> None:
    def refuses(*_: Any) -> Any:
        return 401, {}, b'{"error": "no such key"}'

    with chat_server(refuses) as server, pytest.raises(UserError, match=r"refuses: 401 .*no such key"):
        ask(endpoint(server.base_url, concurrency=1), tmp_path, 2)
    assert len(server.requests) == 1


def test_another_protocol_and_an_unreachable_server(tmp_path: Path) -> None:
    message = "not of the chat completions protocol: <html>hello"
    with chat_server(lambda *_: (200, {}, b"<html>hello</html>")) as server, pytest.raises(UserError, match=message):
        ask(endpoint(server.base_url), tmp_path, 1)
    with pytest.raises(UserError, match=r"no answer after 3 tries \(.*refused"):
        ask(endpoint(server.base_url), tmp_path, 1)


def test_a_missing_key_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with pytest.raises(UserError, match="the environment variable JUDGE_KEY is not set"):
        ask(endpoint("http://127.0.0.1:1/v1", api_key_env="JUDGE_KEY"), tmp_path, 1)


def test_responses_that_hold_a_placeholder_are_shown_as_they_are(tmp_path: Path) -> None:
    with chat_server(by_length) as server, AnswerCache(tmp_path / "a.jsonl") as cache:
        judge = judge_from_endpoint(endpoint(server.base_url), cache)
        judge([Question("0", [{"role": "user", "content": "{first}"}], (1, 2), "{second}", "y")])
    assert server.questions == ["Q: {first}\nA: {second}\nB: y\nScores?"]


@pytest.mark.parametrize(
    ("answer", "scores"),
    [
        ("Scores: 7 4", (7, 4)),
        ("A is better.\nScores: 7.5, 4", (7.5, 4)),
        ("Scores: A: 8, B: 6", (8, 6)),
        ("**Scores:** 9/10 and 10/10", (9, 10)),
        ("Scores: 1 2 was my first thought.\nScores: 3 | 2", (3, 2)),
        ("score: 10 - 1", None),
        ("Scores: seven four", None),
        ("I would say 7 4", None),
        ("Scores: 1" + "0" * 5000 + " 4", None),
        ("score:" * 500_000, None),
        ("score:" * 500_000 + " 7 4", (7, 4)),
        ("", None),
    ],
)
def test_scores_are_read_from_the_last_line_that_has_them(answer: str, scores: tuple[float, float] | None) -> None:
    expected = scores or NoAnswer("the judge's answer has no two scores")
    assert read_scores(answer) == expected
