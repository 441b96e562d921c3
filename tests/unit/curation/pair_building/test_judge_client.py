"""What a server may do to a client: drip, send elsewhere, answer with anything, and repeat the key."""

import asyncio
import gzip
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import openai
import pytest

from megatron_redone.config.build_preferences import EndpointConfig
from megatron_redone.curation.pair_building.judge_client import JudgeClient
from megatron_redone.errors import UserError
from tests.helpers.chat_server import chat_server, completion

BODY = {"model": "judge-1", "messages": [{"role": "user", "content": "which?"}]}
KEY = "sk-very-secret"


def ask(base_url: str, **more: Any) -> str:
    async def one() -> str:
        settings = {"model": "judge-1", "retries": 1, "timeout_s": 5, **more}
        async with JudgeClient(EndpointConfig(base_url=base_url, **settings)) as client:
            return await client.ask(BODY)

    return asyncio.run(one())


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai._base_client, "INITIAL_RETRY_DELAY", 0.01)


@contextmanager
def dripping(start: bytes) -> Iterator[str]:
    """A server that begins with some bytes and then gives one every tenth of a second, for ever."""
    listener = socket.create_server(("127.0.0.1", 0))
    stopped = threading.Event()

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=drip, args=(connection,), daemon=True).start()

    def drip(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.recv(1 << 16)
            connection.sendall(start)
            while not stopped.wait(0.1):
                connection.sendall(b"x")

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        stopped.set()
        listener.close()


@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{", b"HTTP/1.1 200 OK\r\nX-Slow: "], ids=["body", "head"]
)
def test_a_server_that_drips_is_given_up(start: bytes) -> None:
    before = time.monotonic()
    with dripping(start) as url, pytest.raises(UserError, match=r"no answer after 2 tries \(not finished within 0.5 s"):
        ask(url, timeout_s=0.5)
    assert time.monotonic() - before < 4


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_the_key_goes_to_no_other_host(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    with chat_server(lambda *_: completion("Scores: 9 1")) as thief:
        elsewhere = {"Location": thief.base_url + "/chat/completions"}
        with chat_server(lambda *_: (status, elsewhere, b"")) as server:
            with pytest.raises(UserError, match=rf"sends on to another address \({status}"):
                ask(server.base_url, api_key_env="JUDGE_KEY")
            assert len(server.requests) == 1
    assert thief.requests == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [(7, "a int"), (["Scores: 7 4"], "a list"), ({"a": 1}, "a dict"), (True, "a bool")],
)
def test_an_answer_of_another_type_is_none(content: Any, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), chat_server(lambda *_: completion(content)) as server:
        assert ask(server.base_url) == ""
    [told] = caplog.messages
    assert reason in told and "counts as no answer" in told and "\n" not in told


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"[" * 100_000 + b"]" * 100_000, "nested deeper than 200 levels"),
        (b'"' + b"x" * (5 << 20) + b'"', "larger than 4 MB"),
        (b'{"choices": [{"message": {"content": "Scores: \\ud83d 7 4"}}]}', "half a surrogate pair"),
        (b'{"n": ' + b"9" * 5000 + b"}", "an integer of more than 300 digits"),
        (b'{"n": "\xff"}', "invalid UTF-8"),
        (gzip.compress(b"[" * (8 << 20)), "larger than 4 MB"),
    ],
    ids=["nested", "huge", "half a pair", "a long number", "no UTF-8", "packed"],
)
def test_a_reply_that_is_too_much_is_no_answer(reply: bytes, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    packed = {"Content-Encoding": "gzip"} if reply.startswith(b"\x1f\x8b") else {}
    with caplog.at_level(logging.WARNING), chat_server(lambda *_: (200, packed, reply)) as server:
        assert ask(server.base_url) == ""
        assert len(server.requests) == 1
    [told] = caplog.messages
    assert reason in told and "\n" not in told and len(told) < 300


def test_an_answer_that_is_null_is_none_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    with chat_server(lambda *_: completion(None)) as server:  # type: ignore[arg-type]
        assert ask(server.base_url) == "" and caplog.messages == []


@pytest.mark.parametrize("status", [401, 200, 500])
def test_a_key_that_the_server_repeats_is_not_told(
    status: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    said = f"no such key: {KEY}".encode()
    with caplog.at_level(logging.DEBUG), chat_server(lambda *_: (status, {}, said)) as server:
        with pytest.raises(UserError, match=r"no such key: \*\*\*") as error:
            ask(server.base_url, api_key_env="JUDGE_KEY")
        assert server.requests[0][1]["authorization"] == f"Bearer {KEY}"
    assert KEY not in str(error.value) and KEY not in caplog.text


def test_what_the_library_finds_in_the_environment_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, KEY)
    with chat_server(lambda *_: completion("yes")) as server:
        assert ask(server.base_url) == "yes"
        [(path, headers, body)] = server.requests
    assert path == "/v1/chat/completions" and body == BODY
    assert "authorization" not in headers and KEY not in str(headers)
