"""As many posts and texts as are asked for: real ones, and copies of them with words of others in their places.

A copy differs from its original, and from other copies, in about a third of its words (Chinese: pairs of
characters), so that few are near duplicates and what posts look like, how long they are and what is in them stays.
"""

import itertools
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Record = dict[str, Any]

_CHANGED = 1 / 3
_UNIT = re.compile(r"[\u4e00-\u9fff]{1,2}|[^\s\u4e00-\u9fff]+\s*|\s+")


def varied_records(path: Path) -> Iterator[Record]:
    """The records of a JSON-lines file, and then varied ones without end."""
    with path.open(encoding="utf-8") as stream:
        records = [json.loads(line) for line in stream]
    random.Random(0).shuffle(records)
    yield from records
    for turn in itertools.count(1):
        rng = random.Random(turn)
        for number, record in enumerate(records):
            other = records[rng.randrange(len(records))]["text"]
            yield {**_varied(record, _UNIT.findall(other), rng), "id": f"{turn}-{number}"}


def _varied(record: Record, other: list[str], rng: random.Random) -> Record:
    """A record whose texts, also those of its comments and their replies, have words of another text."""
    changed = {
        key: [_varied(one, other, rng) for one in record[key]] for key in ("comments", "replies") if key in record
    }
    return {**record, **changed, "text": _mixed(record["text"], other, rng)}


def _mixed(text: str, other: list[str], rng: random.Random) -> str:
    own = _UNIT.findall(text)
    for place in range(len(own)):
        if other and rng.random() < _CHANGED:
            own[place] = other[(place + rng.getrandbits(4)) % len(other)]
    return "".join(own)
