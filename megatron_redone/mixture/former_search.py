"""What an earlier search found, for one over sources of which some are still the same."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_redone.errors import UserError
from megatron_redone.formats.done_check import read_sealed
from megatron_redone.mixture.search_data import SearchData

log = logging.getLogger(__name__)

RESULT = "mixture.json"
FORMAT = "megatron_redone.mixture/1"


@dataclass(frozen=True, kw_only=True)
class FormerSearch:
    """An earlier search.

    Attributes:
        kept: The weights that it proposed of the sources that are still what they were, by name.
        best_single: The one of these whose proxy had the lowest loss; None where none was trained on one alone.
        seal: Tells its result from any other.
    """

    kept: dict[str, float]
    best_single: str | None
    seal: str


def read_former_search(folder: str, data: SearchData) -> FormerSearch:
    """Reads the result of an earlier search, and looks which sources are as they were.

    Raises:
        UserError: there is none, or no source of it is here still.
    """
    path = Path(folder) / RESULT
    content, is_intact = read_sealed(path)
    if content is None or not is_intact or content.get("format") != FORMAT:
        raise UserError(f"reuse: {path} is no finished search; name the output_dir of one")
    before: dict[str, Any] = content["facts"]["sources"]
    same = [name for name, fact in data.facts["sources"].items() if before.get(name) == fact]
    kept = {name: content["mixture"].get(name, 0.0) for name in same}
    if sum(kept.values()) <= 0:
        raise UserError(f"reuse: {path} has given no weight to any source that is still the same; search without it")
    for name in before.keys() | set(data.names):
        if name not in same:
            change = "is new" if name not in before else "has changed" if name in data.names else "is gone"
            log.info("reuse: the source '%s' %s", name, change)
    singles = {name: loss for name, loss in content["singles"].items() if name in same}
    best = min(singles, key=lambda name: singles[name]) if singles else None
    return FormerSearch(kept=kept, best_single=best, seal=content["seal"])
