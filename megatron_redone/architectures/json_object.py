"""JSON files of a model folder, read so that one of them can say a thing once only."""

import json
from pathlib import Path
from typing import Any

from megatron_redone.errors import UserError


def read_json_object(file: Path) -> dict[str, Any]:
    """The object that a file holds.

    Raises:
        UserError: no such file, no JSON object, a key that stands there twice, or a number that JSON does not know.
    """
    if not file.is_file():
        raise UserError(f"{file}: no such file; name a Hugging Face model directory or its config.json")
    try:
        content = json.loads(
            file.read_text(encoding="utf-8"), object_pairs_hook=_object, parse_constant=_refuse_constant
        )
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: not valid JSON ({' '.join(str(error).split())[:200]})") from None
    if not isinstance(content, dict):
        raise UserError(f"{file}: holds no JSON object with keys")
    return content


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise UserError(f"the key {key!r} stands there twice; leave one out")
        found[key] = value
    return found


def _refuse_constant(name: str) -> Any:
    raise UserError(f"{name} is no number of JSON; write a finite number")
