"""A chat template: from messages to the text that a model reads, as transformers renders it.

The environment is that of `transformers.utils.chat_template_utils` (5.23): sandboxed, with the same
filters, globals and extensions, so that the same template gives the same text. A sandbox keeps a template from files
and from the network, but not from running for ever: time, memory and the length of the text have limits here.
"""

import copy
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
from megatron_redone.processes.limits import OverLimit, limited

Message = Mapping[str, Any]

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
_REASONING = ("reasoning_content", "thinking", "reasoning")
_REASON_LENGTH = 160

# Far above what templates take for the longest conversations: milliseconds, and little more than the texts themselves.
_SECONDS = 10.0
_MORE_BYTES = 1 << 30
# A text may have so many characters, or so many times those of what it is made from (JSON's \uXXXX are six for one).
_MOST_CHARACTERS = 1 << 20
_MOST_GROWTH = 16
# Numbers and repetitions beyond which one operation, which cannot be interrupted, is refused.
_MOST_BITS = 1 << 12
_MOST_ITEMS = 1 << 24
# Conversations of a process over a limit after which it is the template that is at fault.
_MOST_OVER_LIMIT = 3


class TemplateRefusal(Exception):
    """The template does not render a conversation; its text says why."""


class TemplateOverLimit(TemplateRefusal):
    """The template takes too much time or memory, or writes too much."""


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
        self._origin = origin
        self._over_limit = 0
        self._variables = dict(variables)
        environment, self._tracker = _environment(now)
        self._template = _compiled(environment, text, origin)

    def with_variables(self, variables: Mapping[str, Any]) -> "ChatTemplate":
        """The same with further variables, which go before those that it has."""
        other = copy.copy(self)
        other._variables = {**self._variables, **variables}
        return other

    def render(
        self, messages: Sequence[Message], tools: list[Any] | None = None, add_generation_prompt: bool = False
    ) -> Rendering:
        """Renders a conversation.

        Args:
            messages: With `role` and `content`, and what else the template reads.
            tools: JSON schemas of functions that the assistant may call.
            add_generation_prompt: End with what stands before an assistant's answer.

        Raises:
            TemplateRefusal: the template raises an error on these messages, or takes too much for them.
            UserError: it took too much for several conversations.
        """
        known = {
            **self._variables,
            "messages": [_as_transformers_does(message) for message in messages],
            "tools": tools,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        try:
            with limited(_SECONDS, _MORE_BYTES):
                text = self._render(known)
            text.encode()  # no tokenizer takes what this does not
        except OverLimit as limit:
            raise self._refusal(str(limit)) from None
        except UnicodeEncodeError:
            raise TemplateRefusal("it writes half a surrogate pair, which is no character") from None
        except RecursionError:
            raise TemplateRefusal("it calls itself without end") from None
        except (jinja2.TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            raise TemplateRefusal(_first_line(error)) from None
        return Rendering(text, self._tracker.ranges)

    def _render(self, known: Mapping[str, Any]) -> str:
        blocks: list[str] = []
        most = _MOST_CHARACTERS
        self._tracker.begin()
        for block in self._template.generate(**known):
            blocks.append(block)
            self._tracker.position += len(block)
            if self._tracker.position > most:
                most = max(most, _MOST_GROWTH * len(json.dumps(known, ensure_ascii=False, default=lambda _: None)))
                if self._tracker.position > most:
                    raise OverLimit(f"it writes more than {most:,} characters")
        return "".join(blocks)

    def _refusal(self, limit: str) -> TemplateOverLimit:
        """Counts; one conversation may be at fault, several are not."""
        self._over_limit += 1
        if self._over_limit >= _MOST_OVER_LIMIT:
            raise UserError(f"{self._origin}: the chat template cannot be used: {limit} for a conversation, repeatedly")
        return TemplateOverLimit(limit)


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


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, without operations that take for ever in one step."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Computes `left * right` or `left ** right`.

        Raises:
            TemplateError: the result is too large.
        """
        if operator == "**":
            _check_power(left, right)
        else:
            _check_product(left, right)
        return super().call_binop(context, operator, left, right)


def _check_power(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * right > _MOST_BITS:
        raise jinja2.TemplateError("a power that is too large")


def _check_product(left: Any, right: Any) -> None:
    for one, other in ((left, right), (right, left)):
        if isinstance(one, (str, list, tuple)) and isinstance(other, int) and len(one) * other > _MOST_ITEMS:
            raise jinja2.TemplateError("a repetition that is too long")
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > _MOST_BITS:
        raise jinja2.TemplateError("a product that is too large")


def _compiled(environment: jinja2.Environment, text: str, origin: str) -> jinja2.Template:
    """Compiling computes what is constant in a template: it has the limits of rendering."""
    try:
        with limited(_SECONDS, _MORE_BYTES):
            return environment.from_string(text)
    except jinja2.TemplateSyntaxError as error:
        raise UserError(f"{origin}: not a Jinja chat template (line {error.lineno}: {error.message})") from None
    except (SyntaxError, RecursionError, jinja2.TemplateError, ValueError, TypeError) as error:
        raise UserError(f"{origin}: the chat template cannot be compiled: {_first_line(error)}") from None
    except OverLimit as limit:
        raise UserError(f"{origin}: the chat template cannot be compiled: {limit}") from None


def _environment(now: datetime) -> tuple[jinja2.Environment, _GenerationTracker]:
    environment = _Environment(
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
