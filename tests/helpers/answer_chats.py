"""Generated chats whose answers have reasoning, calls and texts, and whether all of them is learned or counted as lost.

The oracle is transformers: its ids of the same template, and its text of an answer alone. Every part of an answer
holds a word of its own, by which it is found in what is learned.
"""

import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import tokenizers

from megatron_redone.config.chat_source import OnLostAnswer
from megatron_redone.config.prepare_sft import (
    ConversationFormat,
    ConversationSource,
    History,
    PrepareSFTConfig,
)
from megatron_redone.config.tokenizer import TokenizerConfig
from megatron_redone.curation.chats.chat_batches import EncodedBatch, EncodedItem, RawChats
from megatron_redone.curation.conversations.encoding import ConversationEncoder
from megatron_redone.formats.raw_records import RawBatch, RawRecord
from megatron_redone.tokenization.chat_template_file import find_chat_template
from tests.helpers import chat_tokenizers

TEMPLATES = ("qwen2_5", "qwen3", "llama3_1", "mistral", "smollm2", "chatml_generation", "strips_thoughts")

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": f"tool_{letter}",
            "description": "Looks something up.",
            "parameters": {"type": "object", "properties": {"about": {"type": "string"}, "day": {"type": "integer"}}},
        },
    }
    for letter in "ab"
]

_TEXTS = (
    "Sure.",
    "湖边 🎈",
    "two  spaces",
    "a <tag> & more",
    "line\n\nbreak",
    '"quoted" \\ back',
    "No",
    "é",
    "{}",
    "2",
)
_REASONING = "reasoning"
Kinds = tuple[tuple[str, str], ...]  # kind and word of each part of an answer


@dataclass(frozen=True)
class Chat:
    """A record, and for each of its assistant's messages which parts it has."""

    record: dict[str, Any]
    parts: dict[int, Kinds]


@dataclass
class Findings:
    """What came of all chats under all templates.

    Attributes:
        chats: Renderings: of every chat by every template, with both histories.
        rows: That were learned from.
        refused: Chats that the template refuses, or of which it drops a message or the tools.
        parts: Of the answers of all others.
        lost: Of these, those that the template leaves out.
        ids_unequal: Chats with other ids, or other learned tokens, than transformers gives.
        lost_uncounted: Chats whose lost parts are not those that are counted; parts that are learned twice.
        tracebacks: Chats that ended in an error of no kind that is told.
        examples: Of faults, the first ones.
    """

    chats: int = 0
    rows: int = 0
    refused: int = 0
    parts: int = 0
    lost: int = 0
    ids_unequal: int = 0
    lost_uncounted: int = 0
    tracebacks: int = 0
    examples: list[str] = field(default_factory=list)

    def fault(self, name: str, what: str) -> None:
        """Counts a fault and keeps the first ones."""
        setattr(self, name, getattr(self, name) + 1)
        if sum(example.startswith(name) for example in self.examples) < 2:
            self.examples.append(f"{name}: {what}")


def generate(count: int, seed: int) -> Iterator[Chat]:
    """Chats of one to four questions, the same for the same seed."""
    source = random.Random(seed)
    words = (f"w{number:05d}w" for number in itertools.count())
    for _ in range(count):
        yield _chat(source, words)


def _chat(source: random.Random, words: Iterator[str]) -> Chat:
    messages: list[dict[str, Any]] = []
    parts: dict[int, Kinds] = {}
    if source.random() < 0.15:
        messages.append({"role": "system", "content": f"Be brief. {next(words)}"})
    for _ in range(source.randint(1, 4)):
        messages.append({"role": "user", "content": f"{source.choice(_TEXTS)} {next(words)}?"})
        for _ in range(source.choice((0, 0, 0, 1, 2))):
            number = len(messages)
            parts[number] = _add_call(source, words, messages)
        number = len(messages)
        parts[number] = _add_answer(source, words, messages)
    record = {"messages": messages}
    # Templates without a place for tools are to see calls too.
    has_tools = any("tool_calls" in message for message in messages) and source.random() < 0.5
    return Chat({**record, "tools": TOOLS} if has_tools else record, parts)


def _add_answer(source: random.Random, words: Iterator[str], messages: list[dict[str, Any]]) -> Kinds:
    message: dict[str, Any] = {"role": "assistant", "content": _text(source, word := next(words))}
    parts = [("text", word)]
    kind = source.randint(0, 3)
    if kind == 1:
        message["reasoning_content"] = _text(source, word := next(words))
        parts.append((_REASONING, word))
    if kind == 2:
        space = source.choice(("\n", "", "\n\n"))
        message["content"] = f"<think>{space}{_text(source, word := next(words))}{space}</think>{message['content']}"
        parts.append((_REASONING, word))
    messages.append(message)
    return tuple(parts)


def _add_call(source: random.Random, words: Iterator[str], messages: list[dict[str, Any]]) -> Kinds:
    calls, parts = [], []
    for _ in range(source.choice((1, 1, 1, 2))):
        about = _text(source, word := next(words))
        arguments = {"about": about, "day": source.randint(1, 28)}
        name = source.choice(("tool_a", "tool_b"))
        id = "".join(source.choices("abcdefgh", k=9))
        calls.append({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
        parts.append(("call", word))
    message: dict[str, Any] = {"role": "assistant", "content": "", "tool_calls": calls}
    if source.random() < 0.5:
        message["content"] = _text(source, word := next(words))
        parts.append(("text", word))
    if source.random() < 0.3:
        message["reasoning_content"] = _text(source, word := next(words))
        parts.append((_REASONING, word))
    messages.append(message)
    messages += [{"role": "tool", "content": f"[{next(words)}]", "tool_call_id": call["id"]} for call in calls]
    return tuple(parts)


def _text(source: random.Random, word: str) -> str:
    return source.choice(("{} {}", "{}{}", "\n{}\n{} ")).format(*source.sample((word, source.choice(_TEXTS)), 2))


class Judge:
    """Compares one template's rows with transformers."""

    def __init__(self, folder: Path, tokenizer: Path, template: str, history: History) -> None:
        """Writes the template's tokenizer into a folder.

        Args:
            folder: It is made.
            tokenizer: The directory with the tokenizer.json to build on.
            template: The name of a file in tests/chat_templates.
            history: What stands before an answer.
        """
        import transformers

        self._folder = chat_tokenizers.write(folder, tokenizer, template)
        self._theirs = transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(self._folder / "tokenizer.json"), **chat_tokenizers.SPECIAL[template][0]
        )
        self._theirs.chat_template = (self._folder / "chat_template.jinja").read_text(encoding="utf-8")
        self._library = tokenizers.Tokenizer.from_file(str(self._folder / "tokenizer.json"))
        self._name, self._history = f"{template} {history.name}", history
        self._encoders = {on_lost: self._encoder(on_lost) for on_lost in OnLostAnswer}

    def judge(self, chat: Chat, found: Findings) -> None:
        """Renders a chat both ways and adds what comes of it."""
        found.chats += 1
        try:
            kept, strict = (self._encode(chat, on_lost) for on_lost in (OnLostAnswer.keep, OnLostAnswer.invalid))
        except Exception as error:
            found.fault("tracebacks", f"{self._name}: {error!r}: {json.dumps(chat.record, ensure_ascii=False)}")
            return
        if kept.invalid:
            self._judge_refusal(chat, kept.invalid[0].reason, found)
            return
        found.rows += len(kept.items)
        self._judge_ids(chat, kept.items, found)
        if self._history is History.generated:
            self._judge_masks(chat, kept.items, found)
        lost = self._judge_parts(chat, kept, found)
        if bool(strict.invalid) != bool(lost):
            found.fault("lost_uncounted", f"{self._name}: {[i.reason for i in strict.invalid]} for {lost}")

    def _judge_refusal(self, chat: Chat, reason: str, found: Findings) -> None:
        """What we refuse is refused by transformers, or drops a message, which transformers does in silence."""
        try:
            text = self._theirs.apply_chat_template(**self._arguments(chat, None), tokenize=False)
        except Exception:
            found.refused += 1
            return
        dropped = any(m["role"] in ("system", "user") and m["content"] not in text for m in chat.record["messages"])
        dropped = dropped or any(f'"{tool["function"]["name"]}"' not in text for tool in chat.record.get("tools", ()))
        if not dropped:
            found.fault("ids_unequal", f"{self._name}: refused ({reason}), and transformers renders it")
        found.refused += dropped

    def _judge_ids(self, chat: Chat, items: list[EncodedItem], found: Findings) -> None:
        answers = sorted(chat.parts)
        if self._history is History.rendered:
            expected = [self._ids(chat, None)]
        else:
            ends = {tuple(self._ids(chat, answer + 1)): answer for answer in answers}
            expected = [list(ids) for ids in ends if list(ids) in [item.tokens.tolist() for item in items]]
        if [item.tokens.tolist() for item in items] != expected:
            found.fault("ids_unequal", f"{self._name}: {json.dumps(chat.record, ensure_ascii=False)}")

    def _judge_masks(self, chat: Chat, items: list[EncodedItem], found: Findings) -> None:
        """Learned is, once, what transformers writes behind the generation prompt, up to the token that ends it."""
        learned = [f" {' '.join(map(str, item.tokens[item.loss_mask > 0]))} " for item in items]
        answers = [f" {' '.join(map(str, self._answer_as_generated(chat, number)))} " for number in chat.parts]
        is_all = sum(text.count(" ") - 1 for text in learned) == sum(text.count(" ") - 1 for text in answers)
        if not is_all or not all(any(answer in text for text in learned) for answer in answers):
            found.fault("ids_unequal", f"{self._name}: learned {learned} for {answers}")

    def _answer_as_generated(self, chat: Chat, number: int) -> list[int]:
        """The ids of an answer; a line break with which it begins may share its token with that before it."""
        prompt, whole = (
            self._theirs.apply_chat_template(
                **self._arguments(chat, stop), tokenize=False, add_generation_prompt=stop == number
            )
            for stop in (number, number + 1)
        )
        assert whole.startswith(prompt)
        start, stop = len(prompt), len(whole.removesuffix("\n"))
        encoded = self._theirs(whole, add_special_tokens=False, return_offsets_mapping=True)
        pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        return [token for token, (first, end) in pairs if end > start and first < stop]

    def _learned(self, item: EncodedItem) -> str:
        return self._library.decode(item.tokens[item.loss_mask > 0].tolist(), skip_special_tokens=False)

    def _judge_parts(self, chat: Chat, batch: EncodedBatch, found: Findings) -> Counter[str]:
        """The parts that are not learned, by kind; a fault where others are counted, or one is learned twice."""
        learned = [self._learned(item) for item in batch.items]
        lost: Counter[str] = Counter()
        for kind, word in itertools.chain.from_iterable(chat.parts.values()):
            found.parts += 1
            times = sum(text.count(word) for text in learned)
            lost[kind] += times == 0
            if times > 1:
                found.fault("lost_uncounted", f"{self._name}: {kind} {word} is learned {times} times")
        lost = +lost
        found.lost += lost.total()
        if lost != batch.lost_parts:
            what = f"{dict(batch.lost_parts)} for {dict(lost)}: {json.dumps(chat.record, ensure_ascii=False)}"
            found.fault("lost_uncounted", f"{self._name}: {what}")
        return lost

    def _ids(self, chat: Chat, stop: int | None) -> list[int]:
        text = self._theirs.apply_chat_template(**self._arguments(chat, stop), tokenize=False)
        return self._theirs(text, add_special_tokens=False)["input_ids"]

    def _arguments(self, chat: Chat, stop: int | None) -> dict[str, Any]:
        return {"conversation": chat.record["messages"][:stop], "tools": chat.record.get("tools")}

    def _encode(self, chat: Chat, on_lost: OnLostAnswer) -> EncodedBatch:
        batch = RawBatch("x", [RawRecord(1, json.dumps(chat.record, ensure_ascii=False).encode())])
        return self._encoders[on_lost].encode(RawChats(0, ConversationFormat.messages, batch))

    def _encoder(self, on_lost: OnLostAnswer) -> ConversationEncoder:
        config = PrepareSFTConfig(
            sources=[ConversationSource(input=["x"], name="x")],
            tokenizer=TokenizerConfig(path=str(self._folder)),
            output_dir="x",
            on_lost_answer=on_lost,
            history=self._history,
        )
        return ConversationEncoder(config, find_chat_template(self._folder, None), datetime(2025, 7, 10))


def judge_all(count: int, folder: Path, tokenizer: Path, seed: int = 0) -> Findings:
    """So many chats on every template, with history as it is rendered and as it was when answers were generated."""
    found, chats = Findings(), list(generate(count, seed))
    for template, history in itertools.product(TEMPLATES, History):
        judge = Judge(folder / f"{template}_{history.name}", tokenizer, template, history)
        for chat in chats:
            judge.judge(chat, found)
    return found
