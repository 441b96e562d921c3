"""Which characters of a rendered conversation are learned, in how many rows, and what its answers have lost.

As the template renders it, a conversation is one row. Templates that rewrite history (Qwen3 drops the reasoning of
earlier answers) make it several where every answer is to be trained on what stood before it when it was generated:
an answer then stands in a longer row only where it and all before it are rendered there as they were.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from megatron_redone.curation.conversations.answer_parts import lost_from_context, lost_parts
from megatron_redone.curation.conversations.conversation import Conversation
from megatron_redone.curation.conversations.turn_marks import (
    DETAIL,
    WEIGHT,
    learned_characters,
    turn_weight,
    without_marks,
)
from megatron_redone.formats.input_records import Messages
from megatron_redone.tokenization.chat_tokenizer import ChatTokenizer, RenderedChat, RenderedTurns
from megatron_redone.tokenization.turn_spans import CannotBeMasked, Span


@dataclass(frozen=True)
class LearnedRows:
    """What is learned of a conversation.

    Attributes:
        chats: Its rows.
        lost: How many parts of each kind its answers have lost: reasoning, text, call.
    """

    chats: list[RenderedChat]
    lost: Counter[str] = field(default_factory=Counter)


def learned_rows(
    tokenizer: ChatTokenizer, conversation: Conversation, turns: Sequence[int] | None, *, as_generated: bool = False
) -> LearnedRows:
    """Renders a conversation.

    Args:
        tokenizer: It.
        conversation: With its marks.
        turns: The messages to be learned, all of the assistant; None learns the whole text, less what is marked.
        as_generated: Whether every answer is trained on what it would have seen, in a row of its own if need be.

    Raises:
        TemplateRefusal: the template does not render the conversation, or leaves out a message or the tools.
        CannotBeMasked: where the turns lie in the text cannot be told.
    """
    tokenizer = tokenizer.with_variables(conversation.variables)
    messages, tools = [without_marks(message) for message in conversation.messages], conversation.tools
    if turns is None:
        return _whole_text(tokenizer, conversation, messages)
    if as_generated:
        rows = _rows_as_generated(tokenizer, messages, tools, turns)
    else:
        rows = [tokenizer.render_turns(messages, tools, turns)]
    lost = Counter[str]()
    for row in rows:
        for turn, spans in row.turns.items():
            # In a row of its own an answer is the last message.
            rendered = messages[: max(row.turns) + 1] if as_generated else messages
            lost.update(_lost(tokenizer, rendered, tools, turn, "".join(row.text[a:b] for a, b in spans)))
    context = [n for n in _answers(messages) if n not in turns and (not as_generated or n < max(turns))]
    for number in context:
        lost.update(lost_from_context(messages[number], rows[-1].text))
    return LearnedRows([_learned(row, conversation.messages) for row in rows], lost)


def _whole_text(tokenizer: ChatTokenizer, conversation: Conversation, messages: Messages) -> LearnedRows:
    marked = [n for n in _answers(messages) if WEIGHT in conversation.messages[n] or DETAIL in conversation.messages[n]]
    row = tokenizer.render_turns(messages, conversation.tools, marked)
    lost = Counter[str]()
    for number in _answers(messages):
        lost.update(_lost(tokenizer, messages, conversation.tools, number, row.text))
    chat = _learned(row, conversation.messages)
    rest = _gaps([span for spans in row.turns.values() for span in spans], len(row.text))
    weights = None if chat.weights is None else [*chat.weights, *(1.0 for _ in rest)]
    return LearnedRows([RenderedChat(row.text, [*chat.learned, *rest], weights)], lost)


def _rows_as_generated(
    tokenizer: ChatTokenizer, messages: Messages, tools: list[Any] | None, turns: Sequence[int]
) -> list[RenderedTurns]:
    rows: list[RenderedTurns] = []
    for turn in reversed(turns):
        alone = tokenizer.render_turns(messages[: turn + 1], tools, [turn])
        seen = alone.text[: alone.turns[turn][-1][1]] if alone.turns[turn] else alone.text
        row = next((row for row in rows if row.text.startswith(seen)), None)
        if row is None:
            rows.append(alone)
        else:
            row.turns.update(alone.turns)
    return rows[::-1]


def _learned(row: RenderedTurns, messages: Sequence[Mapping[str, Any]]) -> RenderedChat:
    spans, weights = list[Span](), list[float]()
    for turn in sorted(row.turns):
        weight = turn_weight(messages[turn])
        found = _learned_of_turn(messages[turn], row.text, row.turns[turn]) if weight else []
        spans += found
        weights += [weight] * len(found)
    return RenderedChat(row.text, spans, None if all(weight == 1 for weight in weights) else weights)


def _learned_of_turn(message: Mapping[str, Any], text: str, spans: list[Span]) -> list[Span]:
    """The ranges of a turn that are learned: those of its `train_detail`, with what ends the turn, or all."""
    ranges = learned_characters(message)
    if ranges is None:
        return spans
    content = message["content"]
    inner = content.strip()
    start = max((text.rfind(inner, first, stop) for first, stop in spans), default=-1)
    if start < 0:
        raise CannotBeMasked("the content that train_detail counts in is not in the rendered answer")
    begin, end = start - content.index(inner), start + len(inner)
    parts = [(max(begin + first, start), min(begin + stop, end)) for first, stop in ranges]
    ending = [(max(first, end), stop) for first, stop in spans if stop > end]
    return [(first, stop) for first, stop in [*parts, *ending] if first < stop]


def _lost(
    tokenizer: ChatTokenizer, messages: Messages, tools: list[Any] | None, turn: int, written: str
) -> Iterable[str]:
    def render(message: Mapping[str, Any]) -> str:
        return tokenizer.text([*messages[:turn], message, *messages[turn + 1 :]], tools)

    return lost_parts(messages[turn], written, render)


def _answers(messages: Messages) -> list[int]:
    return [number for number, message in enumerate(messages) if message["role"] == "assistant"]


def _gaps(spans: Sequence[Span], length: int) -> list[Span]:
    """What lies between some ranges of a text."""
    starts = [0, *(stop for _, stop in sorted(spans))]
    ends = [*(first for first, _ in sorted(spans)), length]
    return [(start, end) for start, end in zip(starts, ends, strict=True) if start < end]
