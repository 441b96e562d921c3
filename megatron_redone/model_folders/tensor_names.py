"""Names of tensors in the two ways that transformers writes them: of the whole model, and of its base model alone."""

import re
from collections.abc import Iterable
from pathlib import Path

from megatron_redone.errors import UserError

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
_PREFIX = "model."
_OF_BASE = re.compile(r"(embed_tokens|layers\.\d+|norm)\.")


def whole_names(folder: Path, names: Iterable[str], tied: bool) -> dict[str, str]:
    """By the name in the folder: the name in the whole model.

    The base model's weights carry no `model.`, and where embedding and head are tied, either name may stand for both.

    Args:
        folder: Named in messages.
        names: Of all tensors in the folder.
        tied: What config.json says.

    Raises:
        UserError: some names carry the prefix and others do not: transformers 5 reads them, 4 starts some anew.
    """
    counted = [name for name in names if not means_nothing(name)]
    base = sorted(filter(_OF_BASE.match, counted))
    whole = sorted(name for name in counted if name.startswith(_PREFIX))
    if base and whole:
        raise UserError(
            f"{folder}: {base[0]} is there, and {whole[0]}; either all tensors begin with '{_PREFIX}', or none"
        )
    found = {name: _PREFIX + name if _OF_BASE.match(name) else name for name in counted}
    if tied and HEAD in found and EMBEDDING not in found.values():
        found[HEAD] = EMBEDDING
    return found


def means_nothing(name: str) -> bool:
    """What transformers ignores too: tables of old versions."""
    return name.endswith("rotary_emb.inv_freq")
