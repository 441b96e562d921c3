"""Where the assistant's turns lie in a rendered conversation, for templates that do not mark them.

Prefix rendering: what the template gives for the messages before a turn, with the generation prompt, is
where the turn begins; what it gives for the messages up to the turn is where it ends. Both must be
prefixes of the whole conversation. Templates that render earlier turns otherwise once more messages follow
(Qwen3 drops their reasoning) fail these tests: the turn is then replaced by a mark. It begins behind the
generation prompt before the mark, and ends where the text after the mark is found again at the end of the
whole. A turn that neither places is refused.

A turn's span is what the model has to write: everything after the generation prompt, the token that
ends the turn included, the line break after that token not.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from megatron_redone.errors import UserError
from megatron_redone.tokenization.chat_template import ChatTemplate, Message, TemplateOverLimit, TemplateRefusal

Span = tuple[int, int]

# From a private-use area of Unicode: no template and no text has it.
_MARK = "\ue000\ue0a7\ue001"


class CannotBeMasked(Exception):
    """The assistant's turns cannot be told from the rest; the text says why."""


class TurnSpans:
    """Finds turns by prefix rendering.

    Attributes:
        ending: What ends a turn (`<|im_end|>`); empty where the template ends turns by no token, None where
            it does not render the conversation of one question that would tell.
    """

    def __init__(self, template: ChatTemplate, added_tokens: Iterable[str]) -> None:
        """Learns how the template ends a turn.

        Args:
            template: It.
            added_tokens: The tokens that the tokenizer keeps whole, special and other.
        """
        self._template = template
        longest_first = sorted(added_tokens, key=len, reverse=True)
        alternatives = "|".join(map(re.escape, longest_first)) or "(?!)"
        self._first_token = re.compile(rf"\s*(?:{alternatives})")
        self._last_token = re.compile(rf"(?:{alternatives})(?=\s*\Z)")
        self._tail = self._text_after_the_last_turn()
        self.ending = None if self._tail is None else self._leading_token(self._tail)

    def find(self, messages: Sequence[Message], tools: list[Any] | None, text: str, turns: Sequence[int]) -> list[Span]:
        """The character ranges of turns.

        Args:
            messages: The conversation.
            tools: Those of the conversation.
            text: What the template makes of it.
            turns: Which messages, all of the assistant.

        Raises:
            CannotBeMasked: a turn is not where prefix rendering says.
        """
        return [self._find(messages, tools, text, turn) for turn in turns]

    def _find(self, messages: Sequence[Message], tools: list[Any] | None, text: str, turn: int) -> Span:
        before = self._render(messages[:turn], tools, add_generation_prompt=True)
        start = len(before) if text.startswith(before) else self._marked_start(messages, tools, text, turn, before)
        if turn == len(messages) - 1:
            return start, self._end(text, start, len(text))
        through = self._render(messages[: turn + 1], tools)
        if text.startswith(through) and len(through) > start:
            return start, self._end(text, start, len(through))
        return start, self._end_before_the_rest(messages, tools, text, turn, start)

    def _marked_start(
        self, messages: Sequence[Message], tools: list[Any] | None, text: str, turn: int, before: str
    ) -> int:
        """Where a turn begins though what stands before it is rendered otherwise in the whole conversation."""
        prompt = self._prompt(before, self._render(messages[:turn], tools))
        for answer in _marked_answers(messages[turn]):
            marked, mark, _ = self._try([*messages[:turn], answer, *messages[turn + 1 :]], tools).partition(_MARK)
            header, found, _ = marked.rpartition(prompt) if prompt else ("", "", "")
            if mark and found and text.startswith(header + prompt):
                return len(header + prompt)
        raise CannotBeMasked("the template renders what stands before an answer otherwise in the whole conversation")

    def _prompt(self, before: str, without_prompt: str) -> str:
        """What asks for an answer at the end of a text: the generation prompt or, without one, the last token."""
        if before != without_prompt and before.startswith(without_prompt):
            return before[len(without_prompt) :]
        last = self._last_token.search(before)
        return before[last.start() :] if last else ""

    def _end(self, text: str, start: int, stop: int) -> int:
        """The end of the turn in `text[start:stop]`, which begins with the turn and ends after it."""
        if self._tail is not None and self.ending is not None and text.endswith(self._tail, start, stop):
            return stop - len(self._tail) + len(self.ending)
        # Another ending than usual: that of a tool call, for one.
        last = self._last_token.search(text[start:stop])
        return start + (last.end() if last else len(text[start:stop].rstrip()))

    def _end_before_the_rest(
        self, messages: Sequence[Message], tools: list[Any] | None, text: str, turn: int, start: int
    ) -> int:
        marked = [*messages[:turn], {"role": "assistant", "content": _MARK}, *messages[turn + 1 :]]
        before, mark, rest = self._try(marked, tools).partition(_MARK)
        end = len(text) - len(rest)
        if not mark or end <= start or not text.endswith(rest) or not before.startswith(text[:start]):
            return self._end_before_the_next(messages, tools, text, turn, start)
        # Where turns end by no token, the next one that follows begins the next turn.
        return end if self.ending == "" else end + len(self._leading_token(rest))

    def _end_before_the_next(
        self, messages: Sequence[Message], tools: list[Any] | None, text: str, turn: int, start: int
    ) -> int:
        """The last token that ends turns before what the next message says."""
        following = {**messages[turn + 1], "content": _MARK}
        marked = [*messages[: turn + 1], following, *messages[turn + 2 :]]
        before, mark, _ = self._try(marked, tools).partition(_MARK)
        end = text.rfind(self.ending, start, len(before)) if self.ending else -1
        if not mark or end < 0 or not text.startswith(before):
            raise CannotBeMasked("the template renders an answer otherwise once more messages follow")
        return end + len(self.ending or "")

    def _text_after_the_last_turn(self) -> str | None:
        question = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _MARK}]
        try:
            _, mark, tail = self._template.render(question).text.partition(_MARK)
        except TemplateOverLimit as limit:
            raise UserError(f"the chat template cannot be used: {limit} for one question and its answer") from None
        except TemplateRefusal:
            return None
        return tail if mark else None

    def _leading_token(self, text: str) -> str:
        found = self._first_token.match(text)
        return found.group() if found else ""

    def _render(self, messages: Sequence[Message], tools: list[Any] | None, add_generation_prompt: bool = False) -> str:
        try:
            return self._template.render(messages, tools, add_generation_prompt).text
        except TemplateRefusal as error:
            raise CannotBeMasked(f"the template does not render a part of the conversation: {error}") from None

    def _try(self, messages: Sequence[Message], tools: list[Any] | None) -> str:
        """A text, or none where the template does not render these messages."""
        try:
            return self._template.render(messages, tools).text
        except TemplateRefusal:
            return ""


def _marked_answers(message: Message) -> Iterator[Message]:
    """An answer with a mark in its place: as a text and, where it is a call, as one of the same kind."""
    yield {"role": "assistant", "content": _MARK}
    if calls := message.get("tool_calls"):
        marked = {**calls[0], "function": {**calls[0]["function"], "name": _MARK}}
        yield {**message, "content": _MARK, "tool_calls": [marked, *calls[1:]]}
