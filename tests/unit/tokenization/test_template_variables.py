"""A template with its variables written into it renders as the template that is given them: by transformers' hand."""

from typing import Any

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from megatron_redone.tokenization.chat_template_file import ChatTemplateFile
from megatron_redone.tokenization.template_variables import template_record, with_variables

CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "  hello"}]
VALUES: list[Any] = [
    *(True, False, None, 0, -3, 1.5, 1e30, "", "plain"),
    *('it\'s "so" \\ \n\ttab', "渡轮 🎈", "{{ x }} {% y %}"),
    *([1, "two", None, [True]], {"a": 1, "it's": {"b": [False]}}),
]
TEMPLATES = [
    "{{ v }}|{{ v is none }}|{{ v is defined }}{% for m in messages %}{{ m.content }}{{ v }}{% endfor %}",
    "\n\n  {% if v %}yes{% else %}no{% endif %}\n",
    "  {%- macro show(x) %}{{ x }}{{ v }}{% endmacro %}\n\n{{ show('a') }}\n",
    "{%- set v = v if v is defined else 'unset' %}{{ v }}",
    "\t{{- v }}",
    "{% for m in messages %}{% set w = v %}{{ w }}{% endfor %}",
]


def render(text: str, **variables: Any) -> str:
    return render_jinja_template([CHAT], chat_template=text, **variables)[0][0]


@pytest.mark.parametrize("template", TEMPLATES)
def test_defaults_render_as_if_they_were_passed(template: str) -> None:
    for value in VALUES:
        text = with_variables(template, {"v": value, "unread": 1}, {})
        assert render(text) == render(template, v=value), value
        assert render(text, v="other") == render(template, v="other")  # whoever passes another still can
        assert "unread" not in text


@pytest.mark.parametrize("template", TEMPLATES)
def test_fixed_ones_hold_whatever_is_passed(template: str) -> None:
    for value in VALUES:
        assert render(with_variables(template, {}, {"v": value}), v="other") == render(template, v=value)


def test_names_that_no_template_can_read_are_left_out() -> None:
    assert with_variables("{{ a-b }}", {"a-b": 1}, {}) == "{{ a-b }}"
    assert with_variables("{{ vv }}", {"v": 1}, {}) == "{{ vv }}"


def test_a_record_holds_what_the_texts_read() -> None:
    plain = ChatTemplateFile("{{ bos_token }}", "{{ bos_token }}{{ date }}", "test")
    record = template_record(plain, {"date": 1, "other": 2}, {"bos_token": "<s>", "pad_token": "<p>"})
    assert (record.text, record.with_tools) == (plain.text, plain.with_tools)
    assert (record.variables, record.special_tokens) == ({"date": 1}, {"bos_token": "<s>"})
    assert template_record(ChatTemplateFile("a", "a", "test"), {}, {}).with_tools is None
