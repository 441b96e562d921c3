"""metrics.jsonl of a run, read."""

from collections.abc import Iterable, Iterator

import orjson


def recorded_metrics(lines: Iterable[bytes]) -> Iterator[tuple[int, dict[str, float]]]:
    """Each record's step and figures; a line that a killed run left unfinished is passed over."""
    for line in lines:
        try:
            record = orjson.loads(line)
            yield record["step"], {name: value for name, value in record.items() if isinstance(value, (int, float))}
        except (orjson.JSONDecodeError, KeyError, TypeError):
            continue
