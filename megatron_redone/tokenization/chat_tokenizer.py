"""Conversations to token ids and loss masks, by a tokenizer's own chat template.

The ids are those of `apply_chat_template` in transformers: the rendered text is encoded as one, so that
special tokens in it become their ids, whoever wrote them. The masks of templates with `{% generation %}`
are those of its `return_assistant_tokens_mask`, but where a range ends with a character of several
tokens (an emoji): transformers leaves all of these but the first unlearned.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import processors

from megatron_redone.errors import UserError
from megatron_redone.tokenization.chat_template import ChatTemplate, Message, TemplateRefusal
from megatron_redone.tokenization.chat_template_file import ChatTemplateFile, declared_tokens, named_special_tokens
from megatron_redone.tokenization.turn_spans import CannotBeMasked, Span, TurnSpans

_MUST_APPEAR = ("system", "developer", "user")


@dataclass(frozen=True)
class RenderedChat:
    """A conversation as text.

    Attributes:
        text: What the model reads.
        learned: Character ranges of what is to be learned, in order.
    """

    text: str
    learned: list[Span]


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
        self.special_tokens = [token.content for token in added if token.special]
        variables = {**named_special_tokens(file.parent), **variables}

        def compile(text: str) -> _Compiled:
            template = ChatTemplate(text, source.origin, variables, now)
            return _Compiled(template, TurnSpans(template, names))

        self._plain = compile(source.text)
        self._with_tools = self._plain if source.with_tools == source.text else compile(source.with_tools)
        ending = self._plain.spans.ending
        self.turns_end = True if self._plain.template.marks_generation or ending is None else bool(ending)

    def render(self, messages: Sequence[Message], tools: list[Any] | None, turns: Sequence[int] | None) -> RenderedChat:
        """The text of a conversation, and what in it is to be learned.

        Args:
            messages: With `role` and `content`, and what else the template reads.
            tools: JSON schemas of functions that the assistant may call.
            turns: The messages to be learned, all of the assistant; None learns the whole text.

        Raises:
            TemplateRefusal: the template does not render the conversation, or leaves out a part of it.
            CannotBeMasked: where the turns lie in the text cannot be told.
        """
        compiled = self._with_tools if tools else self._plain
        rendering = compiled.template.render(messages, tools)
        _check_complete(messages, tools, rendering.text)
        if turns is None:
            learned = [(0, len(rendering.text))]
        elif compiled.template.marks_generation:
            learned = _marked_turns(messages, rendering.generated, turns)
        else:
            learned = compiled.spans.find(messages, tools, rendering.text, turns)
        return RenderedChat(rendering.text, learned)

    def encode(self, chats: Sequence[RenderedChat]) -> list[tuple[np.ndarray, np.ndarray]]:
        """The ids, `uint32[T]`, and the loss mask, `uint8[T]`, of every conversation."""
        encodings = self._tokenizer.encode_batch([chat.text for chat in chats], add_special_tokens=False)
        return [
            (np.array(encoding.ids, np.uint32), _token_mask(encoding.offsets, chat.learned))
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
    for message in messages:
        content = message.get("content")
        if message["role"] in _MUST_APPEAR and isinstance(content, str) and content.strip() not in text:
            raise TemplateRefusal(f"its text has no trace of a message of the {message['role']}")
        if any(call["function"]["name"] not in text for call in message.get("tool_calls") or ()):
            raise TemplateRefusal("its text has no trace of a tool call")
    if any(tool.get("function", tool).get("name", "") not in text for tool in tools or ()):
        raise TemplateRefusal("its text has no trace of the tools")


def _marked_turns(messages: Sequence[Message], generated: list[Span], turns: Sequence[int]) -> list[Span]:
    """The ranges that the template marks, those of some turns."""
    assistant = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
    if list(turns) == assistant:
        return generated
    if len(generated) != len(assistant):
        raise CannotBeMasked(
            f"the template marks {len(generated)} ranges as generated in a conversation with {len(assistant)} answers"
        )
    return [span for number, span in zip(assistant, generated, strict=True) if number in turns]


def _token_mask(offsets: Sequence[Span], learned: Sequence[Span]) -> np.ndarray:
    """1 for every token that shares a character with a learned range."""
    starts, ends = np.array(offsets, np.int64).reshape(-1, 2).T
    mask = np.zeros(len(starts), np.uint8)
    for first, stop in learned:
        if first < stop:
            mask[np.searchsorted(ends, first, "right") : np.searchsorted(starts, stop, "left")] = 1
    return mask
