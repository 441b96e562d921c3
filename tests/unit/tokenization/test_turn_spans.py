"""Turns are found in templates that do not mark them, or it is said why not."""

from datetime import datetime
from pathlib import Path

import pytest

from megatron_redone.errors import UserError
from megatron_redone.tokenization import chat_template
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
    "what stands before an answer is rendered otherwise in the whole": (
        "{{ messages | length }}" + TURNS + PROMPT,
        [f"{LONG}<|im_end|>", "two<|im_end|>"],
    ),
    "the same without a generation prompt: a turn begins behind the last token before it": (
        "{{ messages | length }}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}",
        [f"{LONG}<|im_end|>", "two<|im_end|>"],
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
    hashed = "{{ messages[-1].content | length }}" + TURNS + PROMPT
    with pytest.raises(CannotBeMasked, match="what stands before an answer otherwise"):
        render_with(small, hashed, [*chat[:3], {"role": "assistant", "content": LONG}])
    unfinished = TURNS.replace("{{ m.content }}", "{{ m.content if loop.last or m.role == 'user' else loop.length }}")
    assert render_with(small, unfinished + PROMPT, chat) == ["4<|im_end|>", "two<|im_end|>"]
    with pytest.raises(CannotBeMasked, match="an answer otherwise once more messages follow"):
        render_with(small, unfinished.replace("<|im_end|>", "") + PROMPT, chat)


CALLING = (
    "{{ messages | length }}{% for m in messages %}{% if m.role == 'assistant' and not m.tool_calls and not "
    "loop.last %}{{ raise_exception('only calls') }}{% endif %}<|im_start|>{{ m.role }}\n"
    "{{ m.tool_calls[0].function.name if m.tool_calls else m.content }}<|im_end|>\n{% endfor %}" + PROMPT
)


def test_calls_are_found_where_a_text_cannot_stand_in_their_place(small: Path) -> None:
    """As in Mistral's template, which counts calls as no turns, and writes the tools where the last question is."""
    call = {"type": "function", "function": {"name": "tide", "arguments": {}}}
    chat = question("When?", "Six.")
    chat[1:1] = [{"role": "assistant", "content": "", "tool_calls": [call]}, {"role": "tool", "content": "06:10"}]
    assert render_with(small, CALLING, chat) == ["tide<|im_end|>", "Six.<|im_end|>"]


def test_a_template_that_never_ends_is_told_before_anything_is_read(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_template, "_SECONDS", 0.1)
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(UserError, match=r"cannot be used: it takes more than 0\.1 s of a processor for one question"):
        render_with(small, endless, [])
