"""A template gives the text that transformers renders, and none of what a sandbox keeps out."""

from datetime import datetime
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import render_jinja_template

from megatron_redone.errors import UserError
from megatron_redone.tokenization import chat_template
from megatron_redone.tokenization.chat_template import ChatTemplate, TemplateOverLimit, TemplateRefusal
from tests.helpers import small_tokenizer

CHAT: list[dict[str, Any]] = [
    {"role": "user", "content": "<b> & 湖边", "name": None},
    {"role": "assistant", "content": "yes", "thinking": "why"},
    {"role": "user", "content": "é"},
    {"role": "assistant", "content": "no"},
]
TEMPLATES = {
    "json": "{{ messages[0] | tojson }}{{ messages | tojson(indent=2) }}",
    "blocks are trimmed": "{% for m in messages %}\n {% if loop.first %}\n{{ m.role }}\n {% endif %}\n{% endfor %}",
    "loop controls": "{% for m in messages %}{% if loop.index == 3 %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
    "namespace": "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
    "reasoning": "{% for m in messages %}[{{ m.thinking }}|{{ m.reasoning_content }}]{% endfor %}",
    "absent keys": "{{ 'name' in messages[0] }}{{ bos_token }}{{ documents }}{{ tools }}{{ add_generation_prompt }}",
    "a dict": "{{ dict(a=1) | tojson }}{{ dict.fromkeys('ab', 0) | tojson }}",
}


def template(text: str) -> ChatTemplate:
    return ChatTemplate(text, "test", {"bos_token": "<s>"}, datetime(2025, 7, 10))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    folder = small_tokenizer.train(tmp_path_factory.mktemp("small"))
    return PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("prompt", [False, True])
def test_texts_are_those_of_transformers(tokenizer: PreTrainedTokenizerFast, name: str, prompt: bool) -> None:
    text = TEMPLATES[name]
    keys = {"chat_template": text, "bos_token": "<s>", "add_generation_prompt": prompt}
    expected = tokenizer.apply_chat_template(CHAT, tokenize=False, **keys)
    assert template(text).render(CHAT, add_generation_prompt=prompt).text == expected


def test_marked_ranges_are_those_of_transformers() -> None:
    text = "{% for m in messages %}{{ m.role }}:{% generation %}{{ m.content }}{% endgeneration %}\n{% endfor %}"
    ([expected], [ranges]) = render_jinja_template([CHAT], chat_template=text, return_assistant_tokens_mask=True)
    ours = template(text)
    for _ in range(2):  # the second rendering begins anew
        rendered = ours.render(CHAT)
        assert rendered.text == expected and rendered.generated == [tuple(found) for found in ranges]
    assert ours.marks_generation and not template("plain").marks_generation


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{{ raise_exception('only two\nroles') }}", "only two"),
        ("{{ messages[9].content.strip() }}", "has no element 9"),
        ("{{ messages.append(1) }}", "not safely callable|unsafe"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ namespace(__class__=1) }}", "a namespace cannot hold '__class__'"),
        ("{{ 1 // 0 }}", "division"),
    ],
)
def test_what_a_template_refuses_is_told_in_a_line(text: str, reason: str) -> None:
    with pytest.raises(TemplateRefusal, match=reason) as error:
        template(text).render(CHAT)
    assert "\n" not in str(error.value)


def test_time_is_the_one_that_was_given_and_bad_syntax_is_named() -> None:
    assert template("{{ strftime_now('%d %b %Y') }}").render([]).text == "10 Jul 2025"
    with pytest.raises(UserError, match=r"test: not a Jinja chat template \(line 2"):
        template("x\n{% for %}")


ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}BODY{% endfor %}{% endfor %}"
TOO_MUCH = {
    "a loop": (ENDLESS.replace("BODY", ""), r"more than 0\.2 s of a processor"),
    "a text without end": (ENDLESS.replace("BODY", "x" * 50), "writes more than 1,048,576 characters"),
    "a macro of itself": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "calls itself without end"),
    "two macros": ("{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}", "0.2 s"),
    "repetition": ("{{ 'a' * 2000000000 }}", "a repetition that is too long"),
    "repetition of a list": ("{{ [messages] * 2000000000 }}", "a repetition that is too long"),
    "width": ("{{ '%2000000000d' % messages|length }}", "MB of memory"),
    "width of format": ("{{ '{:>2000000000}'.format(messages|length) }}", "MB of memory"),
    "center": ("{{ messages[0].content.center(2000000000) }}", "MB of memory"),
    "indent": ("{{ messages | tojson(indent=2000000000) }}", "MB of memory"),
    "power": ("{% set n = messages|length + 9 %}{{ (n ** n) ** (n ** n) }}", "a power that is too large"),
    "squares": ("{% set ns = namespace(s=3) %}{% for i in range(60) %}{% set ns.s = ns.s * ns.s %}{% endfor %}",
                "a product that is too large"),
    "doubling": ("{% set ns = namespace(s='xx') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
                 "MB of memory|0.2 s"),
    "half a surrogate pair": ("{{ '\\ud83d' }}", "half a surrogate pair"),
}  # fmt: skip


@pytest.mark.parametrize("name", TOO_MUCH)
def test_what_takes_too_much_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_template, "_SECONDS", 0.2)
    text, reason = TOO_MUCH[name]
    with pytest.raises(TemplateRefusal, match=reason):
        template(text).render(CHAT)


@pytest.mark.parametrize("text", ["{% for a in b %}" * 30 + "{% endfor %}" * 30, "{{" + "(" * 3000])
def test_what_cannot_be_compiled_is_told(text: str) -> None:
    with pytest.raises(UserError, match=r"^test: [^\n]*$"):
        template(text)


def test_a_long_conversation_may_give_a_long_text_and_small_sums_are_sums() -> None:
    long = [{"role": "user", "content": "\u9762" * 2_000_000}]
    assert len(template("{{ messages | tojson(ensure_ascii=true) }}").render(long).text) > 12_000_000
    assert template("{{ 2 ** 10 * 3 }}{{ '-' * 5 }}{{ 7 % 4 }}").render([]).text == "3072-----3"


def test_a_template_that_takes_too_much_again_and_again_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_template, "_SECONDS", 0.05)
    ours = template(ENDLESS.replace("BODY", ""))
    for _ in range(2):
        with pytest.raises(TemplateOverLimit):
            ours.render(CHAT)
    with pytest.raises(UserError, match=r"^test: the chat template cannot be used: it takes more than 0\.05 s"):
        ours.render(CHAT)
