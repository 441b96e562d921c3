"""Preference pairs of hh-rlhf, whose records are two transcripts."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

Pair = dict[str, list[dict[str, str]]]


def read(path: Path) -> Iterator[Pair]:
    """Transcripts that part at the last answer, as prompt, chosen and rejected messages."""
    for line in path.open(encoding="utf-8"):
        item = json.loads(line)
        chosen, rejected = (_messages(item[side]) for side in ("chosen", "rejected"))
        whole = all(message["content"] for message in chosen + rejected)
        if whole and chosen[:-1] == rejected[:-1] and chosen[-1] != rejected[-1]:
            yield {"prompt": chosen[:-1], "chosen": chosen[-1:], "rejected": rejected[-1:]}


def write(pairs: Sequence[Pair], characters: int, count: int, path: Path) -> None:
    """The first pairs whose record has at most so many characters, as JSON lines."""
    lines = [json.dumps(pair, ensure_ascii=False) for pair in pairs]
    chosen = [line for line in lines if len(line) <= characters][:count]
    path.write_text("".join(line + "\n" for line in chosen), encoding="utf-8")


def _messages(transcript: str) -> list[dict[str, Any]]:
    parts = re.split(r"\n\n(Human|Assistant):", transcript)[1:]
    roles = {"Human": "user", "Assistant": "assistant"}
    return [{"role": roles[who], "content": text.strip()} for who, text in zip(parts[::2], parts[1::2], strict=True)]
