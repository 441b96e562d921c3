"""A judge behind a server: what it is asked, and what its answers mean. No answer is asked for twice."""

import asyncio
import hashlib
import json
import logging
import math
import re
from collections import deque
from collections.abc import Sequence
from typing import Any

from megatron_redone.config.build_preferences import EndpointConfig
from megatron_redone.curation.pair_building.answer_cache import AnswerCache
from megatron_redone.curation.pair_building.judge import Judge, NoAnswer, Question, Scores
from megatron_redone.curation.pair_building.judge_client import JudgeClient
from megatron_redone.errors import UserError

log = logging.getLogger(__name__)

# The last words of an answer, and few between the name and the numbers: a longer search would take for ever in one that
# is nothing but "score:".
_LAST_CHARACTERS = 20_000
_SCORES = re.compile(r"scores?\W*?:[^\d\n-]{0,200}(-?\d+(?:\.\d+)?)[^\d\n-]+(-?\d+(?:\.\d+)?)", re.IGNORECASE)
_OUT_OF_TEN = re.compile(r"/\s*10\b")


def judge_from_endpoint(config: EndpointConfig, cache: AnswerCache) -> Judge:
    """A judge that asks the server what the cache does not know.

    Raises:
        UserError: by the judge itself: see `JudgeClient` and its `ask`; the answers until then are kept.
    """

    def judge(questions: Sequence[Question]) -> list[Scores | NoAnswer]:
        bodies = [_body(config, question) for question in questions]
        asyncio.run(_answer_all(config, cache, bodies))
        return [read_scores(cache.get(_key(config, body))) for body in bodies]

    return judge


def read_scores(answer: str) -> Scores | NoAnswer:
    """The two numbers behind the last `Scores:` of an answer."""
    found = _SCORES.findall(_OUT_OF_TEN.sub("", answer[-_LAST_CHARACTERS:]))
    if not found or not all(math.isfinite(float(number)) for number in found[-1]):
        return NoAnswer("the judge's answer has no two scores")
    return float(found[-1][0]), float(found[-1][1])


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


def _key(config: EndpointConfig, body: dict[str, Any]) -> str:
    """Of the server and what it is asked: another one may have another model under the same name."""
    content = [config.base_url.rstrip("/"), body]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


async def _answer_all(config: EndpointConfig, cache: AnswerCache, bodies: list[dict[str, Any]]) -> None:
    """Puts the answer to every request into the cache, some at a time; an error waits for those that are open."""
    waiting = deque({key: body for body in bodies if cache.get(key := _key(config, body)) is None}.items())
    if not waiting:
        return
    log.info("asking %s: %d questions; %d are answered already", config.model, len(waiting), len(bodies) - len(waiting))

    async def work(client: JudgeClient) -> None:
        while waiting:
            key, body = waiting.popleft()
            try:
                cache.put(key, await client.ask(body))
            except UserError:
                waiting.clear()
                raise

    async with JudgeClient(config) as client:
        workers = [work(client) for _ in range(min(config.concurrency, len(waiting)))]
        for outcome in await asyncio.gather(*workers, return_exceptions=True):
            if outcome is not None:
                raise outcome
