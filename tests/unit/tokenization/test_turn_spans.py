"""Turns are found in templates that do not mark them, or it is said why not."""

from datetime import datetime
from pathlib import Path

import pytest

from megatron_redone.tokenization.chat_template_file import ChatTemplateFile
from megatron_redone.tokenization.chat_tokenizer import ChatTokenizer
from megatron_redone.tokenization.turn_spans import CannotBeMasked
from tests.helpers import small_tokenizer
from tests.helpers.golden_chats import Chat, answers, question


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_tokenizer.train(tmp_path_factory.mktemp("small"))


def render_with(folder: Path, template: str, chat: Chat) -> list[str]:
    """What a template given as text has learned, as texts."""
    ours = ChatTokenizer(str(folder), ChatTemplateFile(template, template, "test"), {}, datetime(2025, 7, 10))
    chat_rendered = ours.render(chat, None, answers(chat))
    return [chat_rendered.text[first:stop] for first, stop in chat_rendered.learned]


LONG = "An answer of more than twenty characters"
TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"

PROMPT = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
TEMPLATES = {
    "the conversation ends with one token more": (
        TURNS + PROMPT.replace("{% endif %}", "{% else %}<|endoftext|>{% endif %}"),
        [f"{LONG}<|im_end|>", "two<|im_end|>"],
    ),
    "turns end with no token": (
        TURNS.replace("<|im_end|>", "") + PROMPT,
        [LONG, "two"],
    ),
    "the next turn's token does not end this one": (
        TURNS.replace("<|im_end|>", "{% if loop.last and m.role == 'assistant' %}\n\n{% endif %}") + PROMPT,
        [LONG, "two"],
    ),
    "without a generation prompt the model has to write the header": (
        TURNS,
        [f"<|im_start|>assistant\n{LONG}<|im_end|>", "<|im_start|>assistant\ntwo<|im_end|>"],
    ),
    "earlier answers are shortened": (
        TURNS.replace("m.content", "(m.content if loop.last else m.content[:20])") + PROMPT,
        [f"{LONG[:20]}<|im_end|>", "two<|im_end|>"],
    ),
}


@pytest.mark.parametrize("name", list(TEMPLATES))
def test_templates_of_other_kinds(small: Path, name: str) -> None:
    template, expected = TEMPLATES[name]
    assert render_with(small, template, [*question("first?", LONG), *question("second?", "two")]) == expected


def test_templates_that_cannot_be_masked_say_so(small: Path) -> None:
    chat = [*question("first?", "one"), *question("second?", "two")]
    counted = "{{ messages | length }}" + TURNS + PROMPT
    with pytest.raises(CannotBeMasked, match="what stands before an answer otherwise"):
        render_with(small, counted, chat)
    unfinished = TURNS.replace("{{ m.content }}", "{{ m.content if loop.last or m.role == 'user' else loop.length }}")
    with pytest.raises(CannotBeMasked, match="an answer otherwise once more messages follow"):
        render_with(small, unfinished + PROMPT, chat)
