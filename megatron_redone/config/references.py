"""`${other.key}` within a configuration: which are taken, and how a text that looks like one is written."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from megatron_redone.errors import UserError
from megatron_redone.nested import texts_in

NOT_A_REFERENCE = "${...} stands for another key's value, and this is none; for the text itself write \\${"

# OmegaConf's functions, such as ${oc.env:NAME}: with a colon after the name, and an even number of backslashes before.
_RESOLVER = re.compile(r"(?<!\\)(?:\\\\)*\$\{[^{}]*?:")

_REFERENCE = re.compile(r"(\\*)\$\{")


def refuse_resolvers(layer: Any) -> None:
    """Refuses what would bring something in from outside, such as an environment variable's value.

    It would be written into the configuration that a run keeps, into its checkpoints and reports: a secret too.

    Raises:
        UserError: there is one; the line names its key.
    """
    for key, text in _texts(layer):
        if _RESOLVER.search(text):
            raise UserError(
                f"{key}: {text!r} asks for a value from outside, which would be written to config.yaml; "
                "give the value itself, or write \\${ for the text"
            )


def check_references(config: Any, layers: Sequence[tuple[str, Any]]) -> None:
    """Refuses references to what is no key, or to themselves.

    Args:
        config: The configuration as OmegaConf holds it.
        layers: What it was made of, each with the beginning of a line that tells of a mistake there.

    Raises:
        UserError: there is one; the line names its key.
    """
    for key, text in _texts(OmegaConf.to_container(config, resolve=False)):
        if "${" not in text:
            continue
        try:
            OmegaConf.select(config, key, throw_on_resolution_failure=True)
        except (OmegaConfBaseException, RecursionError):
            where = next((where for where, layer in layers if text in dict(_texts(layer)).values()), "")
            raise UserError(f"{where}{key}: {text!r}: {NOT_A_REFERENCE}") from None


def escaped(value: Any) -> Any:
    """The same values, nested as they are, with texts that would be taken for references written as texts."""
    if isinstance(value, dict):
        return {name: escaped(element) for name, element in value.items()}
    if isinstance(value, list):
        return [escaped(element) for element in value]
    return _REFERENCE.sub(r"\1\1\\${", value) if isinstance(value, str) else value


def _texts(layer: Any) -> Iterator[tuple[str, str]]:
    """Each text by its key, as in `sources[0].input`."""
    for place, text in texts_in(layer):
        yield "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).removeprefix("."), text
