"""One question to a server that speaks OpenAI's chat completions protocol, through the openai library.

The library tries again where a server is busy, slow or away, and waits as long as the server asks. Beyond it, a try
that takes longer than its time is given up as a whole, however the bytes drip; a reply is read up to a size; and no
redirect is followed, so that the key goes to no other host.
"""

import asyncio
import logging
import os
from contextlib import suppress
from typing import Any

from megatron_redone.config.build_preferences import EndpointConfig
from megatron_redone.errors import UserError
from megatron_redone.formats.input_records import InvalidRecordError
from megatron_redone.formats.json_values import UnreadableJson, parse_value

log = logging.getLogger(__name__)

_LARGEST_REPLY = 4 << 20  # bytes; an answer has some thousand tokens
_EXCERPT = 200
_WHOLE = "whole"


class JudgeClient:
    """An asynchronous context manager; see the module."""

    def __init__(self, config: EndpointConfig) -> None:
        """Connects to nothing yet.

        Raises:
            UserError: the openai library is missing, or the variable that should hold the key is not set.
        """
        self._config = config
        self._url = config.base_url.rstrip("/") + "/chat/completions"
        self._key = _api_key(config.api_key_env)
        self._client = _open_client(config, self._key)

    async def ask(self, body: dict[str, Any]) -> str:
        """The text of the answer; empty where the reply holds none, which is logged.

        Args:
            body: The request, with `model` and `messages`.

        Raises:
            UserError: the server refuses, does not answer after all tries, or speaks another protocol.
        """
        import openai

        try:
            reply = await self._client.chat.completions.with_raw_response.create(**body, extra_headers=self._headers())
        except openai.APIStatusError as error:
            raise self._refusal(error) from None
        except openai.OpenAIError as error:
            raise self._no_answer(_first_cause(error)) from None
        return self._text(reply.http_response)

    async def __aenter__(self) -> "JudgeClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    def _headers(self) -> dict[str, Any]:
        """Leaves out what the library takes from the environment (OPENAI_ORG_ID) and sends to any server."""
        from openai import Omit

        without = ["OpenAI-Organization", "OpenAI-Project"] + (["Authorization"] if self._key is None else [])
        return {name: Omit() for name in without}

    def _text(self, response: Any) -> str:
        """The answer in a reply that came with status 200."""
        if not response.extensions[_WHOLE]:
            return self._nothing(f"the reply is larger than {_LARGEST_REPLY >> 20} MB")
        try:
            content = parse_value(response.content)["choices"][0]["message"]["content"]
        except UnreadableJson as reason:
            return self._nothing(f"the reply is not read: {reason}")
        except (InvalidRecordError, KeyError, IndexError, TypeError):
            words = self._without_key(" ".join(response.text.split()))[:_EXCERPT]
            raise UserError(f"{self._url}: the reply is not of the chat completions protocol: {words}") from None
        if content is not None and not isinstance(content, str):
            return self._nothing(f"the content of the reply is a {type(content).__name__}, not a string")
        return content or ""

    def _nothing(self, reason: str) -> str:
        log.warning("%s: %s; it counts as no answer", self._url, reason)
        return ""

    def _refusal(self, error: Any) -> UserError:
        words = " ".join(error.response.text.split())[:_EXCERPT]
        said = self._without_key(f"{error.status_code} {error.response.reason_phrase}: {words}")
        if error.response.is_redirect:
            return UserError(f"{self._url} sends on to another address ({said}); name that one as base_url")
        passing = error.status_code in (408, 409, 429) or error.status_code >= 500
        return self._no_answer(said) if passing else UserError(f"{self._url} refuses: {said}")

    def _no_answer(self, problem: str) -> UserError:
        return UserError(
            f"{self._url}: no answer after {self._config.retries + 1} tries ({self._without_key(problem)}); "
            "the answers until now are kept, run the same command again"
        )

    def _without_key(self, text: str) -> str:
        """Servers repeat a key that they do not know."""
        return text.replace(self._key, "***") if self._key else text


def _api_key(variable: str | None) -> str | None:
    if variable is None:
        return None
    if not os.environ.get(variable):
        raise UserError(f"endpoint.api_key_env: the environment variable {variable} is not set")
    return os.environ[variable]


def _open_client(config: EndpointConfig, key: str | None) -> Any:
    try:
        import httpx2
        import openai
    except ImportError:
        raise UserError("endpoint: needs the openai library: `pip install 'megatron_redone[judge]'`") from None

    class Client(httpx2.AsyncClient):
        """Gives a try its time as a whole, and a reply its size."""

        async def send(self, request: Any, **options: Any) -> Any:
            with suppress(asyncio.TimeoutError):
                return await asyncio.wait_for(self._read(request, **{**options, "stream": True}), config.timeout_s)
            raise httpx2.ReadTimeout(f"not finished within {config.timeout_s:g} s", request=request)

        async def _read(self, request: Any, **options: Any) -> Any:
            response = await super().send(request, **options)
            content = bytearray()
            async for part in response.aiter_bytes(1 << 16):
                content += part
                if len(content) > _LARGEST_REPLY:
                    break
            await response.aclose()
            headers = [(name, value) for name, value in response.headers.multi_items() if name != "content-encoding"]
            whole = len(content) <= _LARGEST_REPLY
            return httpx2.Response(
                response.status_code,
                headers=headers,
                content=bytes(content),
                request=request,
                extensions={**response.extensions, _WHOLE: whole},
            )

    return openai.AsyncOpenAI(
        base_url=config.base_url,
        api_key=key or "none",  # the library insists; `_headers` leaves it out
        max_retries=config.retries,
        http_client=Client(follow_redirects=False, timeout=config.timeout_s),
    )


def _first_cause(error: BaseException) -> str:
    """The words of the error that all others came of."""
    cause: BaseException | None = error
    while cause is not None:
        error, cause = cause, cause.__cause__ or cause.__context__
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__
