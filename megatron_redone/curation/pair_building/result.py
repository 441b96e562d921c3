"""What an entry of the configuration gave."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson

from megatron_redone.curation.pair_building.labelled_records import Pair, Records, Skipped, skip


@dataclass(frozen=True, kw_only=True)
class Result:
    """Pairs, and what is to be known about them.

    Attributes:
        records: The source that they come from.
        pairs: In its order.
        skipped: Its malformed records, and those of which no pair was made.
        figures: Agreements and counts that the strategy has of its own.
    """

    records: Records
    pairs: list[Pair]
    skipped: list[Skipped]
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def skipped_by_reason(self) -> dict[str, int]:
        """How often each reason was given, the most frequent first."""
        return dict(Counter(item.reason for item in self.skipped).most_common())


def collect(records: Records, outcomes: list[Pair | Skipped], figures: dict[str, Any] | None = None) -> Result:
    """Sorts what was made of the good records, adds the malformed ones, and takes out pairs that stood before."""
    pairs: list[Pair] = []
    skipped = [*records.malformed]
    seen: set[bytes] = set()
    for item in outcomes:
        if isinstance(item, Skipped):
            skipped.append(item)
        elif (content := orjson.dumps([item.record.messages, item.chosen, item.rejected])) in seen:
            skipped.append(skip(item.record, "the same pair stands before"))
        else:
            seen.add(content)
            pairs.append(item)
    return Result(records=records, pairs=pairs, skipped=skipped, figures=figures or {})
