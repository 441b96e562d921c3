"""Conversations to token ids and loss masks, by a tokenizer's own chat template.

The ids are those of `apply_chat_template` in transformers: the rendered text is encoded as one, so that
special tokens in it become their ids, whoever wrote them. The masks of templates with `{% generation %}`
are those of its `return_assistant_tokens_mask`, but where a range ends with a character of several
tokens (an emoji): transformers leaves all of these but the first unlearned.
"""

import copy
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import processors

from megatron_redone.errors import UserError
from megatron_redone.tokenization.chat_template import ChatTemplate, Message, Rendering, TemplateRefusal
from megatron_redone.tokenization.chat_template_file import ChatTemplateFile, declared_tokens, named_special_tokens
from megatron_redone.tokenization.left_out import is_written, left_out
from megatron_redone.tokenization.turn_spans import CannotBeMasked, Span, TurnSpans

# From a private-use area of Unicode, as the mark of `turn_spans`.
_MARK = "\ue000\ue0c5\ue001"


@dataclass(frozen=True)
class RenderedChat:
    """A conversation as text.

    Attributes:
        text: What the model reads.
        learned: Character ranges of what is to be learned.
        weights: What the loss of each range counts; None where all count in full.
    """

    text: str
    learned: list[Span]
    weights: list[float] | None = None


@dataclass(frozen=True)
class RenderedTurns:
    """A conversation as text, and where some of its turns lie.

    Attributes:
        text: What the model reads.
        turns: Character ranges of what the assistant writes in each turn, by the number of its message.
    """

    text: str
    turns: dict[int, list[Span]]


@dataclass(frozen=True)
class _Compiled:
    template: ChatTemplate
    spans: TurnSpans


class ChatTokenizer:
    """Renders and encodes conversations.

    Attributes:
        special_tokens: The texts of the tokenizer's special tokens.
        turns_end: Whether the template ends the assistant's turns with a token; None where it does not tell.
    """

    def __init__(self, path: str, source: ChatTemplateFile, variables: Mapping[str, Any], now: datetime) -> None:
        """Loads the tokenizer and compiles the template.

        Args:
            path: A Hugging Face directory with a tokenizer.json, or that file.
            source: The chat template.
            variables: What the template can read besides messages, tools and special tokens.
            now: The time that the template is told, should it ask.

        Raises:
            UserError: there is no tokenizer.json, or the template is not one.
        """
        file = tokenizer_file(path)
        self._tokenizer = _load(file)
        added = list(self._tokenizer.get_added_tokens_decoder().values())
        names = [token.content for token in added]
        _check_declared(file, names)
        self._added = names
        self.special_tokens = [token.content for token in added if token.special]
        variables = {**named_special_tokens(file.parent), **variables}

        def compile(text: str) -> _Compiled:
            template = ChatTemplate(text, source.origin, variables, now)
            return _Compiled(template, TurnSpans(template, names))

        self._plain = compile(source.text)
        self._with_tools = self._plain if source.with_tools == source.text else compile(source.with_tools)
        ending = self._plain.spans.ending
        self.turns_end = True if self._plain.template.marks_generation or ending is None else bool(ending)

    def with_variables(self, variables: Mapping[str, Any]) -> "ChatTokenizer":
        """The same, whose template can read further variables, which go before those that it has."""
        if not variables:
            return self
        other = copy.copy(self)
        other._plain, other._with_tools = (
            _Compiled(template, TurnSpans(template, self._added))
            for template in (one.template.with_variables(variables) for one in (self._plain, self._with_tools))
        )
        return other

    def render(self, messages: Sequence[Message], tools: list[Any] | None, turns: Sequence[int] | None) -> RenderedChat:
        """The text of a conversation, and what in it is to be learned.

        Args:
            messages: With `role` and `content`, and what else the template reads.
            tools: JSON schemas of functions that the assistant may call.
            turns: The messages to be learned, all of the assistant; None learns the whole text.

        Raises:
            TemplateRefusal: the template does not render the conversation, or leaves out a message or the tools.
            CannotBeMasked: where the turns lie in the text cannot be told.
        """
        rendered = self.render_turns(messages, tools, turns or [])
        if turns is None:
            return RenderedChat(rendered.text, [(0, len(rendered.text))])
        return RenderedChat(rendered.text, [span for spans in rendered.turns.values() for span in spans])

    def render_turns(self, messages: Sequence[Message], tools: list[Any] | None, turns: Sequence[int]) -> RenderedTurns:
        """The text of a conversation, and where some of the assistant's turns lie in it; see `render`."""
        compiled = self._with_tools if tools else self._plain
        rendering = compiled.template.render(messages, tools)
        _check_complete(messages, tools, rendering.text)
        _check_tool_turns(compiled.template, messages, tools)
        if compiled.template.marks_generation and turns:
            return RenderedTurns(rendering.text, _marked_turns(compiled.template, messages, tools, rendering, turns))
        spans = compiled.spans.find(messages, tools, rendering.text, turns)
        return RenderedTurns(rendering.text, {turn: [span] for turn, span in zip(turns, spans, strict=True)})

    def text(self, messages: Sequence[Message], tools: list[Any] | None) -> str:
        """What the template makes of messages, whether or not it leaves anything out.

        Raises:
            TemplateRefusal: it does not render them.
        """
        return (self._with_tools if tools else self._plain).template.render(messages, tools).text

    def end_of_turn(self) -> int | None:
        """The id of the token that ends the assistant's turns; None where none does, or the template does not tell."""
        ending = self._plain.spans.ending
        return self._tokenizer.token_to_id(ending.strip()) if ending else None

    def encode(self, chats: Sequence[RenderedChat]) -> list[tuple[np.ndarray, np.ndarray]]:
        """The ids, `uint32[T]`, of every conversation, and its loss mask, `uint8[T]`, or loss weights, `float32[T]`."""
        encodings = self._tokenizer.encode_batch([chat.text for chat in chats], add_special_tokens=False)
        return [
            (np.array(encoding.ids, np.uint32), _token_mask(encoding.offsets, chat))
            for encoding, chat in zip(encodings, chats, strict=True)
        ]


def tokenizer_file(path: str) -> Path:
    """The tokenizer.json at a path.

    Raises:
        UserError: there is none.
    """
    file = Path(path) / "tokenizer.json" if Path(path).is_dir() else Path(path)
    if file.suffix != ".json" or not file.is_file():
        raise UserError(
            f"{path}: chat data needs a Hugging Face tokenizer with a tokenizer.json; write one with transformers: "
            "AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)"
        )
    return file


def _load(file: Path) -> tokenizers.Tokenizer:
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the Rust side raises plain Exception
        raise UserError(f"{file}: not a tokenizer.json that tokenizers can read ({error})") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    # No tokens are added here, which leaves a post-processor one thing to do: some take the spaces out of
    # the offsets, so that a turn's first space seems to belong to no token.
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def _check_declared(file: Path, known: Sequence[str]) -> None:
    missing = sorted(set(declared_tokens(file.parent)) - set(known))
    if missing:
        raise UserError(
            f"{file}: lacks {', '.join(missing[:5])}, which tokenizer_config.json declares; write both anew with "
            "transformers: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)"
        )


def _check_complete(messages: Sequence[Message], tools: list[Any] | None, text: str) -> None:
    """Some templates drop a system prompt or tools, which they have no place for; that is not to go unseen."""
    if missing := left_out(messages, tools, text):
        raise TemplateRefusal(f"its text has no trace of {missing}")


def _check_tool_turns(template: ChatTemplate, messages: Sequence[Message], tools: list[Any] | None) -> None:
    """Finds marks in the place of what tools say: answers repeat it, so that it may be found there."""
    turns = [number for number, message in enumerate(messages) if _is_tool_turn(message)]
    if turns and not _takes_marks(template, messages, tools, turns):
        raise TemplateRefusal("its text has no trace of a message of the tool")


def _is_tool_turn(message: Message) -> bool:
    return message["role"] == "tool" and isinstance(message.get("content"), str) and bool(message["content"].strip())


def _takes_marks(
    template: ChatTemplate, messages: Sequence[Message], tools: list[Any] | None, turns: Iterable[int]
) -> bool:
    marks = {turn: f"{_MARK}{turn}{_MARK}" for turn in turns}
    marked = [
        {**message, "content": marks[number]} if number in marks else message for number, message in enumerate(messages)
    ]
    try:
        text = template.render(marked, tools).text
    except TemplateRefusal:
        return True  # it does not take the marks: what was found counts
    return all(is_written(mark, text) for mark in marks.values())


def _marked_turns(
    template: ChatTemplate,
    messages: Sequence[Message],
    tools: list[Any] | None,
    rendering: Rendering,
    turns: Sequence[int],
) -> dict[int, list[Span]]:
    """The ranges that the template marks, those of some turns."""
    assistant = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
    ranges = rendering.generated
    if len(ranges) == len(assistant):
        return {number: [span] for number, span in zip(assistant, ranges, strict=True) if number in turns}
    # Several a turn, or none: those of a turn are what its end adds to those of the turns before.
    counts = [0]
    for number in assistant:
        found = template.render(messages[: number + 1], tools).generated
        counts.append(len(found) if found == ranges[: len(found)] else -1)
    if counts != sorted(counts) or counts[-1] != len(ranges):
        raise CannotBeMasked(
            f"the template marks {len(ranges)} ranges as generated in a conversation with {len(assistant)} answers"
        )
    of_turns = zip(assistant, itertools.pairwise(counts), strict=True)
    return {number: ranges[first:stop] for number, (first, stop) in of_turns if number in turns}


def _token_mask(offsets: Sequence[Span], chat: RenderedChat) -> np.ndarray:
    """What every token counts that shares a character with a learned range: 1, or the greatest weight of these."""
    starts, ends = np.array(offsets, np.int64).reshape(-1, 2).T
    weights = chat.weights or [1] * len(chat.learned)
    mask = np.zeros(len(starts), np.uint8 if chat.weights is None else np.float32)
    for (first, stop), weight in zip(chat.learned, weights, strict=True):
        if first < stop:
            tokens = slice(np.searchsorted(ends, first, "right"), np.searchsorted(starts, stop, "left"))
            mask[tokens] = np.maximum(mask[tokens], weight)
    return mask
