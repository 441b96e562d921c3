"""`redone tokenize` against the way Megatron-LM's preprocess_data.py does it, on the same real text.

    python tools/benchmarks/tokenize.py --data DIR [--megabytes 200] [--repeats 3]

DIR holds real text (`social_en`, `social_zh`, `general`) and a `tokenizer` directory. The text is
shuffled and repeated up to the size asked for. Both sides run as fresh commands with two processes,
start-up included, in turn; what they wrote is compared id by id.
"""

import os
import sys

# A script's folder comes first on the path, where this file would stand for Python's own `tokenize`.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import json
import random
import statistics
import tempfile
from pathlib import Path

import numpy as np

from megatron_redone.formats.indexed import IndexedDataset
from tools.benchmarks import real_text
from tools.benchmarks.recording import Measured, measure, record

HERE = Path(__file__).parent
PROCESSES = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the text and a tokenizer")
    parser.add_argument("--megabytes", type=int, default=200, help="size of the corpus")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare(arguments.data, arguments.megabytes, arguments.repeats, Path(folder))


def compare(data: Path, megabytes: int, repeats: int, folder: Path) -> None:
    """Measures both sides in turn and records the figures."""
    corpus, large = folder / "corpus.jsonl", folder / "large.jsonl"
    size = write_corpus(data, corpus, megabytes)
    ours: list[Measured] = []
    theirs: list[Measured] = []
    for number in range(repeats):
        ours.append(measure(our_command(data, corpus, folder / f"ours{number}")))
        theirs.append(measure(their_command(data, corpus, folder / f"theirs{number}")))
        print(f"{number}: ours {ours[-1].seconds:.1f} s, Megatron's way {theirs[-1].seconds:.1f} s", file=sys.stderr)
    different = ids_different(folder / "ours0", folder / "theirs0")
    corpus.unlink()
    write_corpus(data, large, 4 * megabytes)
    four_times = measure(our_command(data, large, folder / "large"))
    seconds = statistics.median(m.seconds for m in ours)
    ratios = [b.seconds / a.seconds for a, b in zip(ours, theirs, strict=True)]
    metrics = {
        "speedup_vs_megatron": statistics.median(ratios),
        "speedup_min": min(ratios),
        "speedup_max": max(ratios),
        "mb_per_s": size / 1e6 / seconds,
        "megatron_mb_per_s": size / 1e6 / statistics.median(m.seconds for m in theirs),
        "corpus_mb": size / 1e6,
        "peak_rss_mb": max(m.peak_rss_mb for m in ours),
        "peak_rss_mb_at_four_times_the_corpus": four_times.peak_rss_mb,
        "megatron_peak_rss_mb": max(m.peak_rss_mb for m in theirs),
        "ids_different": different,
    }
    notes = (
        f"Wall clock of the whole command, {PROCESSES} processes, {repeats} runs of each side in turn, medians. MB are "
        "of the JSONL file. Peak memory is that of the largest process. Megatron's way: a pool of workers, json.loads "
        "and one tokenizers call per document, one IndexedDatasetBuilder."
    )
    record("tokenize", metrics, ["gigatoken", "tokenizers", "megatron-core", "orjson"], notes)


def write_corpus(data: Path, path: Path, megabytes: int) -> int:
    """The folder's documents, shuffled anew for every repetition, as JSON lines; returns the bytes."""
    texts = list(real_text.documents(data))
    rng = random.Random(0)
    size = 0
    with path.open("wb") as stream:
        while size < megabytes * 1_000_000:
            rng.shuffle(texts)
            for text in texts:
                size += stream.write(json.dumps({"text": text}, ensure_ascii=False).encode() + b"\n")
    return size


def our_command(data: Path, corpus: Path, prefix: Path) -> list[str]:
    """`redone tokenize`."""
    keys = [
        f"input={corpus}",
        f"output_prefix={prefix}",
        f"tokenizer.path={data / 'tokenizer'}",
        f"workers={PROCESSES}",
    ]
    return [sys.executable, "-m", "megatron_redone", "tokenize", *keys]


def their_command(data: Path, corpus: Path, prefix: Path) -> list[str]:
    """Megatron's way, in a file of its own."""
    script = str(HERE / "tokenize_as_megatron.py")
    return [sys.executable, script, str(corpus), str(prefix), str(data / "tokenizer/tokenizer.json"), str(PROCESSES)]


def ids_different(ours: Path, theirs: Path) -> int:
    """How many documents differ in any id."""
    a, b = IndexedDataset(ours), IndexedDataset(theirs)
    if len(a) != len(b):
        return max(len(a), len(b))
    if a.token_count == b.token_count and np.array_equal(a.sequence_lengths, b.sequence_lengths):
        same = a.paths.bin.read_bytes() == b.paths.bin.read_bytes()
        if same:
            return 0
    return sum(not np.array_equal(a[i], b[i]) for i in range(len(a)))


if __name__ == "__main__":
    main()
