"""What an entry of the configuration gave."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson

from megatron_redone.curation.pair_building.labelled_records import NoPair, Pair, Records, no_pair


@dataclass(frozen=True, kw_only=True)
class Result:
    """Pairs, and what is to be known about them.

    Attributes:
        records: The source that they come from.
        pairs: In its order.
        no_pairs: Its invalid records, and those of which no pair was made.
        metrics: Agreements and counts that the strategy has of its own.
    """

    records: Records
    pairs: list[Pair]
    no_pairs: list[NoPair]
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def no_pair_by_reason(self) -> dict[str, int]:
        """How often each reason was given, the most frequent first."""
        return dict(Counter(item.reason for item in self.no_pairs).most_common())


def collect(records: Records, outcomes: list[Pair | NoPair], metrics: dict[str, Any] | None = None) -> Result:
    """Sorts what was made of the good records, adds the invalid ones, and takes out pairs that stood before."""
    pairs: list[Pair] = []
    no_pairs = [*records.invalid]
    seen: set[bytes] = set()
    for item in outcomes:
        if isinstance(item, NoPair):
            no_pairs.append(item)
        elif (content := orjson.dumps([item.record.messages, item.chosen, item.rejected])) in seen:
            no_pairs.append(no_pair(item.record, "the same pair stands before"))
        else:
            seen.add(content)
            pairs.append(item)
    return Result(records=records, pairs=pairs, no_pairs=no_pairs, metrics=metrics or {})
