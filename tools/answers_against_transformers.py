"""Proves on generated chats that every part of an answer is learned or counted as lost, and that ids are transformers'.

    python tools/answers_against_transformers.py [--chats 500] [--seed 0] [--tokenizer DIR]

Chats have reasoning, calls and texts; each is rendered by seven templates (Qwen2.5, Qwen3, Llama 3.1, Mistral, SmolLM2,
ChatML, one that strips thoughts), as a whole and with history as it was when each answer was generated. Prints
counts as JSON; the exit code is 1 where one of `ids_unequal`, `lost_uncounted` and `tracebacks` is not 0.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
from pathlib import Path

from tests.helpers import small_tokenizer
from tests.helpers.answer_chats import judge_all

_FAULTS = ("ids_unequal", "lost_uncounted", "tracebacks")


def main() -> int:
    """Reads the flags, judges and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chats", type=int, default=500, help="how many are generated; each is judged 14 times")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--tokenizer", type=Path, help="a directory with a tokenizer.json; a small one is trained without"
    )
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = flags.tokenizer or small_tokenizer.train(Path(folder) / "small")
        found = judge_all(flags.chats, Path(folder), tokenizer, flags.seed)
    print(json.dumps(dataclasses.asdict(found), ensure_ascii=False, indent=2))
    return int(any(getattr(found, name) for name in _FAULTS))


if __name__ == "__main__":
    sys.exit(main())
