"""Conversations whose learned tokens are written down in tests/golden/chat_masks.txt, for a person to check.

A section there is `=== TEMPLATE CONVERSATION LOSS_ON` and the rendered text, with ⟦ ⟧ around what is learned.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[1] / "golden" / "chat_masks.txt"
OPEN, CLOSE = "⟦", "⟧"

Chat = list[dict[str, Any]]

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "ferry_times",
            "description": "When ferries leave.",
            "parameters": {"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]},
        },
    }
]

CONVERSATIONS: dict[str, Chat] = {
    "question": [
        {"role": "user", "content": "  Which <tag> suits a ferry trip?\n"},
        {"role": "assistant", "content": "#湖边 🎈"},
    ],
    "dialogue": [
        {"role": "system", "content": "Answer briefly."},
        {"role": "user", "content": "When does it leave?"},
        {"role": "assistant", "content": "At nine.\n"},
        {"role": "user", "content": "And back?"},
        {"role": "assistant", "content": "\n\nHalf past six.\n\nBring a jacket. "},
    ],
    "talk": [
        {"role": "user", "content": "When does it leave?"},
        {"role": "assistant", "content": "At nine."},
        {"role": "user", "content": "And back?"},
        {"role": "assistant", "content": "Half past six."},
        {"role": "user", "content": "Thanks"},
    ],
    "reasoning": [
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": "<think>\nTwo and two.\n</think>\n\n4"},
        {"role": "user", "content": "And 3 + 3?"},
        {"role": "assistant", "content": "<think>\nThree and three.\n</think>\n\n6"},
    ],
    "tools": [
        {"role": "user", "content": "When is the ferry on Monday?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": "abcdefghi",
                    "type": "function",
                    "function": {"name": "ferry_times", "arguments": {"day": "Monday"}},
                }
            ],
        },
        {"role": "tool", "content": "[9, 18]", "tool_call_id": "abcdefghi"},
        {"role": "assistant", "content": "At nine and at six."},
        {"role": "user", "content": "Fine"},
        {"role": "assistant", "content": "Have a good trip!"},
    ],
}


def sections() -> Iterator[tuple[str, str, str, str]]:
    """Template, conversation, loss_on and marked text of every section."""
    for part in FILE.read_text(encoding="utf-8").split("=== ")[1:]:
        title, _, text = part.partition("\n")
        template, conversation, loss_on = title.split()
        yield template, conversation, loss_on, text.removesuffix("\n\n")


def marked(text_of_runs: list[tuple[bool, str]]) -> str:
    """The text of consecutive runs of tokens, with marks around those that are learned."""
    return "".join(f"{OPEN}{text}{CLOSE}" if learned else text for learned, text in text_of_runs)


def question(text: str, answer: str) -> Chat:
    """A conversation of one question and its answer."""
    return [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]


def answers(chat: Chat) -> list[int]:
    """The numbers of the assistant's turns."""
    return [number for number, message in enumerate(chat) if message["role"] == "assistant"]
