"""Whether generated records read the same from every kind of file; prints what was found as one line of JSON.

    python -m tools.formats_agree [RECORDS]

Conversations and pairs are written as JSON lines, as an array, compressed with gzip and zstandard, and as Parquet in
three writers' styles; ids, masks, counts and reasons have to be the same. Posts, good and bad, have to be invalid for
the same reason where `curate` and where `tokenize` reads them. A short form of it is in tests/unit/tools.
"""

import json
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings

from tests.helpers import generated_records as generated

_MOST_BYTES = 4000  # of a post: some are larger


def agree(records: int, folder: Path) -> dict[str, Any]:
    """Generates so many conversations, pairs and posts, and counts.

    Args:
        records: Of each.
        folder: For files.
    """
    counts: Counter[str] = Counter(dict.fromkeys(("formats_differing", "posts_differing", "tracebacks"), 0))
    conversations, pairs = generated.encoders(folder)

    def compare(kind: str, whole: Any, encode: generated.Encode) -> Callable[[Any], None]:
        def check(record: Any) -> None:
            files = generated.write_everywhere(folder / kind, [whole, record])
            first, *others = [generated.encoded(file, encode, kind == "pairs") for file in files]
            counts[kind] += 1
            counts[f"invalid_{kind}"] += any(isinstance(one, str) for one in first)
            counts["formats_differing"] += sum(other != first for other in others)

        return check

    def compare_posts(line: bytes) -> None:
        counts["posts"] += 1
        for file in generated.write_posts(folder / "posts", [line]):
            ours = generated.as_curate_reads(file, _MOST_BYTES)
            counts["posts_differing"] += ours != generated.as_tokenize_reads(file, _MOST_BYTES)
            counts["invalid_posts"] += file.is_splittable and not all(is_text for _, _, is_text in ours)

    check = compare("conversations", generated.WHOLE_CONVERSATION, conversations)
    _for_each(generated.CONVERSATIONS, records, check, counts)
    _for_each(generated.PAIRS, records, compare("pairs", generated.WHOLE_PAIR, pairs), counts)
    _for_each(generated.LINES, records, compare_posts, counts)
    return dict(counts)


def _for_each(records: Any, number: int, check: Callable[[Any], None], counts: "Counter[str]") -> None:
    """Runs a check on generated records; one that raises is counted and shown, and the others go on."""

    @settings(
        max_examples=number, database=None, deadline=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )  # fmt: skip
    @given(records)
    def run(record: Any) -> None:
        try:
            check(record)
        except Exception:
            counts["tracebacks"] += 1
            traceback.print_exc()
            print(f"of: {record!r}", file=sys.stderr)

    run()


def main() -> None:
    """Prints the counts; the exit code is 1 where something differs."""
    with tempfile.TemporaryDirectory() as folder:
        counts = agree(int(sys.argv[1]) if len(sys.argv) > 1 else 2000, Path(folder))
    print(json.dumps(counts))
    sys.exit(bool(counts["formats_differing"] or counts["posts_differing"] or counts["tracebacks"]))


if __name__ == "__main__":
    main()
