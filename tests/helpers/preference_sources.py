"""Small files of records for `redone build-preferences`, and entries of its configuration that read them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from megatron_redone.config.loader import load_config


def write_lines(path: Path, records: Sequence[Any]) -> str:
    """JSON lines; a string stands as it is."""
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r, ensure_ascii=False)) + "\n" for r in records))
    return str(path)


def entry(schema: type, tmp_path: Path, values: dict[str, Any]) -> Any:
    """An entry of the configuration, filled as a YAML file would fill it."""
    file = tmp_path / f"{schema.__name__}.yaml"
    file.write_text(json.dumps(values))
    return load_config(schema, str(file))


def reasons(result: Any) -> dict[str, int]:
    """What was skipped, by reason."""
    return dict(sorted(result.no_pair_by_reason.items()))
