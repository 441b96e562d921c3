"""A chat template: from messages to the text that a model reads, as transformers renders it.

The environment is that of `transformers.utils.chat_template_utils` (5.23): sandboxed, with the same
filters, globals and extensions, so that the same template gives the same text.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.utils
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from megatron_redone.errors import UserError

Message = Mapping[str, Any]

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
_REASONING = ("reasoning_content", "thinking", "reasoning")
_REASON_LENGTH = 160


class TemplateRefusal(Exception):
    """The template does not render a conversation; its text says why."""


@dataclass(frozen=True)
class Rendering:
    """A rendered conversation.

    Attributes:
        text: What the model reads.
        generated: Character ranges of what the template marks with `{% generation %}`.
    """

    text: str
    generated: list[tuple[int, int]]


class ChatTemplate:
    """A compiled template with the variables that do not change from one conversation to the next.

    Attributes:
        marks_generation: Whether the template tells by `{% generation %}` what the assistant writes.
    """

    def __init__(self, text: str, origin: str, variables: Mapping[str, Any], now: datetime) -> None:
        """Compiles a template.

        Args:
            text: In Jinja.
            origin: Where it comes from, for messages.
            variables: What the template can read besides the messages: the special tokens, and the user's own.
            now: The time that `strftime_now` tells.

        Raises:
            UserError: it is not a template.
        """
        self.marks_generation = bool(_GENERATION.search(text))
        self._variables = dict(variables)
        environment, self._tracker = _environment(now)
        try:
            self._template = environment.from_string(text)
        except jinja2.TemplateSyntaxError as error:
            raise UserError(f"{origin}: not a Jinja chat template (line {error.lineno}: {error.message})") from None

    def render(
        self, messages: Sequence[Message], tools: list[Any] | None = None, add_generation_prompt: bool = False
    ) -> Rendering:
        """Renders a conversation.

        Args:
            messages: With `role` and `content`, and what else the template reads.
            tools: JSON schemas of functions that the assistant may call.
            add_generation_prompt: End with what stands before an assistant's answer.

        Raises:
            TemplateRefusal: the template raises an error on these messages.
        """
        blocks: list[str] = []
        self._tracker.begin()
        try:
            for block in self._template.generate(
                **self._variables,
                messages=[_as_transformers_does(message) for message in messages],
                tools=tools,
                documents=None,
                add_generation_prompt=add_generation_prompt,
            ):
                blocks.append(block)
                self._tracker.position += len(block)
        except (jinja2.TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            raise TemplateRefusal(_first_line(error)) from None
        return Rendering("".join(blocks), self._tracker.ranges)


class _GenerationTracker(jinja2.ext.Extension):
    """`{% generation %}` ... `{% endgeneration %}`: renders as if it were not there, and notes the range."""

    tags = {"generation"}  # noqa: RUF012 (jinja2 declares it so)

    def __init__(self, environment: jinja2.Environment) -> None:
        super().__init__(environment)
        self.begin()

    def begin(self) -> None:
        """Forgets the last rendering."""
        self.position = 0
        self.ranges: list[tuple[int, int]] = []

    def parse(self, parser: Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_note"), [], [], body).set_lineno(line)

    def _note(self, caller: Any) -> str:
        text = caller()
        self.ranges.append((self.position, self.position + len(text)))
        return text


class _Dict:
    """`dict` of a template: only what builds one."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


class _Namespace(jinja2.utils.Namespace):
    """`namespace` of a template: without the underscored names by which a sandbox is left."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, *rest = args  # a template may name a value `self`
        for name in dict(*rest, **kwargs):
            _check_name(name)
        jinja2.utils.Namespace.__init__(self, *rest, **kwargs)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if str(name).startswith("_"):
        raise jinja2.TemplateError(f"a namespace cannot hold {name!r}")


def _environment(now: datetime) -> tuple[ImmutableSandboxedEnvironment, _GenerationTracker]:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTracker, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = now.strftime
    environment.globals["dict"] = _Dict()
    environment.globals["namespace"] = _Namespace
    tracker = environment.extensions[_GenerationTracker.identifier]
    assert isinstance(tracker, _GenerationTracker)
    return environment, tracker


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    # jinja2's own filter escapes HTML.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _as_transformers_does(message: Message) -> dict[str, Any]:
    """Without keys that hold None, and with a reasoning under the names that templates read."""
    present = {name: value for name, value in message.items() if value is not None}
    reasoning = next((present[name] for name in _REASONING if name in present), None)
    return present if reasoning is None else {"thinking": reasoning, **present, "reasoning_content": reasoning}


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:_REASON_LENGTH]
