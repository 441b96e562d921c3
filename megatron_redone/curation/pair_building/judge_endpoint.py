"""A judge behind a server that speaks OpenAI's chat completions protocol."""

import hashlib
import http.client
import json
import logging
import os
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from megatron_redone.config.build_preferences import EndpointConfig
from megatron_redone.curation.pair_building.answer_cache import AnswerCache
from megatron_redone.curation.pair_building.judge import Judge, NoAnswer, Question, Scores
from megatron_redone.errors import UserError

log = logging.getLogger(__name__)

_SCORES = re.compile(r"scores?\W*?:[^\d\n-]*(-?\d+(?:\.\d+)?)[^\d\n-]+(-?\d+(?:\.\d+)?)", re.IGNORECASE)
_OUT_OF_TEN = re.compile(r"/\s*10\b")
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 60.0
# The server is busy, restarting or cannot be reached; any other status stays what it is.
_PASSING = (408, 409, 425, 429, 500, 502, 503, 504)


def judge_from_endpoint(config: EndpointConfig, cache: AnswerCache) -> Judge:
    """A judge that asks the server what the cache does not know.

    Raises:
        UserError: the variable that should hold the key is not set. The judge raises it where the server refuses
            or, after all retries, does not answer; the answers until then are kept.
    """
    headers = {"Content-Type": "application/json"}
    if config.api_key_env is not None:
        if not os.environ.get(config.api_key_env):
            raise UserError(f"endpoint.api_key_env: the environment variable {config.api_key_env} is not set")
        headers["Authorization"] = f"Bearer {os.environ[config.api_key_env]}"

    def judge(questions: Sequence[Question]) -> list[Scores | NoAnswer]:
        bodies = [_body(config, question) for question in questions]
        _answer_all(config, headers, cache, bodies)
        return [read_scores(cache.get(_key(body))) for body in bodies]

    return judge


def read_scores(answer: str) -> Scores | NoAnswer:
    """The two numbers behind the last `Scores:` of an answer."""
    found = _SCORES.findall(_OUT_OF_TEN.sub("", answer))
    return (float(found[-1][0]), float(found[-1][1])) if found else NoAnswer("the judge's answer has no two scores")


def _body(config: EndpointConfig, question: Question) -> dict[str, Any]:
    parts = {"{question}": _as_text(question), "{first}": question.first, "{second}": question.second}
    # In one pass: a response may itself hold a part's name.
    content = re.sub("|".join(map(re.escape, parts)), lambda found: parts[found.group()], config.prompt)
    return {
        "model": config.model,
        "messages": [{"role": "user", "content": content}],
        "temperature": config.temperature,
        "max_tokens": config.max_tokens,
    }


def _as_text(question: Question) -> str:
    if len(question.messages) == 1:
        return question.messages[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in question.messages)


def _key(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _answer_all(
    config: EndpointConfig, headers: dict[str, str], cache: AnswerCache, bodies: list[dict[str, Any]]
) -> None:
    """Puts the answer to every request into the cache."""
    missing = {key: body for body in bodies if cache.get(key := _key(body)) is None}
    if missing:
        known = len(bodies) - len(missing)
        log.info("asking %s: %d questions; %d are answered already", config.model, len(missing), known)
    stop = threading.Event()

    def answer(key: str, body: dict[str, Any]) -> None:
        if stop.is_set():
            return
        try:
            cache.put(key, _ask(config, headers, body, stop))
        except UserError:
            stop.set()
            raise

    pool = ThreadPoolExecutor(config.concurrency)
    try:
        for done in as_completed([pool.submit(answer, key, body) for key, body in missing.items()]):
            done.result()
    finally:
        stop.set()  # an error or an interrupt waits for the open questions, not for their further tries
        pool.shutdown(cancel_futures=True)


def _ask(config: EndpointConfig, headers: dict[str, str], body: dict[str, Any], stop: threading.Event) -> str:
    url = config.base_url.rstrip("/") + "/chat/completions"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    problem = "stopped"
    for attempt in range(config.retries + 1):
        wait = min(_FIRST_WAIT_S * 2**attempt, _LONGEST_WAIT_S)
        try:
            with urllib.request.urlopen(request, timeout=config.timeout_s) as reply:
                return _content(url, reply.read())
        except urllib.error.HTTPError as error:
            problem = f"{error.code} {error.reason}: {_excerpt(error)}"
            if error.code not in _PASSING:
                raise UserError(f"{url} refuses: {problem}") from None
            wait = max(wait, _asked_wait(error))
        except (OSError, http.client.HTTPException) as error:  # unreachable, timed out or broken off
            problem = str(getattr(error, "reason", error)) or type(error).__name__
        if attempt == config.retries or stop.wait(wait):
            break
    raise UserError(
        f"{url}: no answer after {config.retries + 1} tries ({problem}); the answers until now are kept, "
        "run the same command again"
    )


def _content(url: str, reply: bytes) -> str:
    try:
        content = json.loads(reply)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError):
        excerpt = reply[:200].decode(errors="replace")
        raise UserError(f"{url}: the reply is not of the chat completions protocol: {excerpt}") from None
    return content or ""


def _excerpt(error: urllib.error.HTTPError) -> str:
    try:
        return " ".join(error.read(500).decode(errors="replace").split())
    except OSError:
        return ""


def _asked_wait(error: urllib.error.HTTPError) -> float:
    """Seconds that the server asks to wait, at most as long as ours may become."""
    asked = error.headers.get("Retry-After", "") if error.headers else ""
    return min(float(asked), _LONGEST_WAIT_S) if asked.isdigit() else 0.0
