"""What it costs to compare what is read of a dataset with its checksums: both sides in turn, in one run.

    python tools/benchmarks/checked_reads.py [--repeats 5]

A dataset of 50 million int32 tokens in documents of 1,000, in the page cache; random rows of 4,096 tokens become
micro-batches of four, as training reads them. The other side is the same dataset without the files of checksums. What
is compared is compared at every read, so that the first epoch and the tenth cost the same. Recorded as the part
`dataset checks` of the result `checkpoints`.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

HERE = str(Path(__file__).parent)
sys.path[:] = [*(path for path in sys.path if path != HERE), HERE, str(Path(__file__).parents[2])]

import numpy as np
from recording import record_part

from megatron_redone.datasets.token_rows import whole_rows
from megatron_redone.datasets.token_stream import TokenStream
from megatron_redone.datasets.vocabulary import Vocabulary
from megatron_redone.formats.block_checksums import checksums_path
from megatron_redone.formats.indexed import DatasetPaths, IndexedDatasetWriter

_TOKENS, _DOCUMENT, _ROW, _BATCH, _BATCHES, _AT_ONCE = 50_000_000, 1_000, 4_096, 4, 500, 20


def main() -> None:
    """Measures and records."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--notes", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checked, bare = Path(folder, "checked"), Path(folder, "bare")
        _write(checked)
        for path in vars(DatasetPaths.of(checked)).values():
            bare.with_suffix(path.suffix).hardlink_to(path)
            assert checksums_path(path).exists()
        seconds: dict[str, list[float]] = {"checked": [], "bare": []}
        for turn in range(options.repeats + 1):
            # Other rows for either side: those that the other has just read would lie in the processor's cache.
            streams = {"checked": _open(checked, 2 * turn), "bare": _open(bare, 2 * turn + 1)}
            found = dict.fromkeys(streams, 0.0)
            for first in range(0, _BATCHES, _AT_ONCE):  # in small turns, so that a busy machine is busy for both
                for name, stream in streams.items():
                    found[name] += _read(stream, first)
            for name in found if turn else ():  # the first fills the page cache
                seconds[name].append(found[name])
        opening = statistics.median(_opening(checked) for _ in range(20))
        size = sum(checksums_path(path).stat().st_size for path in vars(DatasetPaths.of(checked)).values())
    ratios = [one / other for one, other in zip(seconds["checked"], seconds["bare"], strict=True)]
    samples = _BATCH * _BATCHES
    metrics = {
        "dataset_check_cost": statistics.median(ratios) - 1,
        "dataset_check_cost_low": min(ratios) - 1,
        "dataset_check_cost_high": max(ratios) - 1,
        "dataset_check_us_per_row": 1e6 * (statistics.median(seconds["checked"]) - statistics.median(seconds["bare"]))
        / samples,
        "dataset_rows_per_s": samples / statistics.median(seconds["checked"]),
        "dataset_open_ms": 1e3 * opening,
        "dataset_checksums_share": size / (4 * _TOKENS),
    }  # fmt: skip
    notes = f"{options.repeats} turns of each side, {samples} rows of {_ROW} tokens each, one core. {options.notes}"
    record_part("checkpoints", "dataset checks", metrics, ("numpy", "xxhash"), notes.strip())


def _write(prefix: Path) -> None:
    random = np.random.default_rng(0)
    with IndexedDatasetWriter(prefix, np.int32, checksum=True) as writer:
        for _ in range(_TOKENS // (100 * _DOCUMENT)):
            writer.add(random.integers(0, 150_000, 100 * _DOCUMENT, np.int32), np.full(100, _DOCUMENT))
        writer.finish()


def _open(prefix: Path, seed: int) -> TokenStream:
    return TokenStream(str(prefix), seq_length=_ROW, seed=seed, vocabulary=Vocabulary(size=150_000))


def _read(stream: TokenStream, first: int) -> float:
    start = time.process_time()
    for batch in range(first, first + _AT_ONCE):
        whole_rows([stream.tokens(_BATCH * batch + row) for row in range(_BATCH)])
    return time.process_time() - start


def _opening(prefix: Path) -> float:
    start = time.perf_counter()
    TokenStream(str(prefix), seq_length=_ROW, seed=0).close()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
