"""What documents of one origin are called, and where they lie: keys that several stages have."""

import re
from collections.abc import Sequence

from megatron_redone.errors import UserError

INPUT_FILES = "files, directories, globs or URLs of .jsonl, .json (an array or lines), either .gz or .zst, or .parquet"


def check_named_input(name: str, input: Sequence[str], taken: Sequence[str]) -> None:
    """Refuses a name that cannot be a file's in the output folder, and an empty list of files.

    Args:
        name: What the documents are called.
        input: Where they lie.
        taken: Names of folders that the stage itself writes there.

    Raises:
        UserError: the name or the list does not do.
    """
    if not re.fullmatch(r"[\w-]+", name) or name in taken:
        raise UserError(f"name: '{name}' cannot be a file's name here; use letters, digits, - and _")
    if not input:
        raise UserError("input: the list is empty; name at least one file")
