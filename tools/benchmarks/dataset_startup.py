"""Start-up and random samples of our token stream against megatron-core's GPTDataset, on the same files.

    python tools/benchmarks/dataset_startup.py --folder DIR [--documents 100000000] [--repeats 5]

Writes an .idx of 100 million documents (100 billion tokens, 2 GB) beside a .bin that is one hole, in a
temporary folder under DIR, which needs 4 GB of a real disk. Every figure is taken in a fresh process. Where
a sample will be read, tokens are written into the hole first, so that cold reads are reads of the disk.
"""

import argparse
import json
import mmap
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Behind the standard library: a script in this folder hides the module `tokenize` that numpy and torch need.
HERE = str(Path(__file__).parent)
sys.path[:] = [*(path for path in sys.path if path != HERE), HERE]

import numpy as np
from recording import record

SEQ_LENGTH = 4096
MEAN_DOCUMENT = 997  # tokens; their number falls off exponentially, as that of web pages and threads does
VOCABULARY = 151_936
CHUNK = 1_000_000  # documents written at once
WARM_PASSES = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="a folder on a real disk")
    parser.add_argument("--documents", type=int, default=100_000_000)
    parser.add_argument("--samples", type=int, default=300, help="samples of one repeat")
    parser.add_argument("--repeats", type=int, default=5, help="repeats of each side, in turn")
    parser.add_argument("--role", choices=ROLES, help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--isolate", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--no-read-ahead", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role:
        print(json.dumps({**ROLES[arguments.role](arguments), "peak_rss_mb": peak_rss_mb()}))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        arguments.folder = Path(folder)
        compare(arguments)


def compare(arguments: argparse.Namespace) -> None:
    """Runs every measurement and records the figures."""
    say("writing the index")
    tokens = write_dataset(arguments.folder, arguments.documents)
    say("starting our stream")
    ours = [evicted(arguments, "our_start") for _ in range(arguments.repeats)]
    left_behind = [path.name for path in arguments.folder.iterdir() if path.name not in ("data.idx", "data.bin")]
    say(f"{ours}; building GPTDataset's indices")
    build = evicted(arguments, "their_start")
    cache_mb = sum(path.stat().st_size for path in (arguments.folder / "cache").iterdir()) / 1e6
    say(f"{build}; starting GPTDataset from its cache")
    theirs = [evicted(arguments, "their_start") for _ in range(arguments.repeats)]
    metrics = {
        "documents": arguments.documents,
        "tokens": tokens,
        "startup_s": middle(ours, "seconds"),
        "startup_s_max": max(row["seconds"] for row in ours),
        "startup_process_s": middle(ours, "process_seconds"),
        "startup_rss_mb": max(row["peak_rss_mb"] for row in ours),
        "startup_files_written": len(left_behind),
        "gptdataset_first_build_s": build["seconds"],
        "gptdataset_first_build_rss_mb": build["peak_rss_mb"],
        "gptdataset_cache_mb": cache_mb,
        "gptdataset_startup_cached_s": middle(theirs, "seconds"),
        "gptdataset_startup_cached_rss_mb": max(row["peak_rss_mb"] for row in theirs),
        **compare_samples(arguments),
    }
    record("dataset_startup", metrics, ["torch", "numpy", "megatron-core"], notes(arguments))


def compare_samples(arguments: argparse.Namespace) -> dict[str, float]:
    """Samples a second of both, cold and warm, documents crossed and isolated."""
    metrics: dict[str, float] = {}
    peaks = []
    for isolate, suffix in ((False, ""), (True, "_isolated")):
        rounds = [measure_round(arguments, isolate) for _ in range(arguments.repeats)]
        ours, theirs, quiet = ([row[side] for row in rounds] for side in range(3))
        peaks += [row["peak_rss_mb"] for row in ours]
        for state in ("cold", "warm"):
            name = suffix if state == "cold" else f"_warm{suffix}"
            metrics[f"samples_per_s{name}"] = middle(ours, state)
            metrics[f"gptdataset_samples_per_s{name}"] = middle(theirs, state)
            metrics |= ratios(f"samples_ratio_vs_gptdataset{name}", ours, theirs, state)
        metrics[f"gptdataset_samples_per_s{suffix}_no_read_ahead"] = middle(quiet, "cold")
        metrics |= ratios(f"samples_ratio_vs_gptdataset{suffix}_no_read_ahead", ours, quiet, "cold")
        metrics[f"disk_kb_per_sample{suffix}"] = middle(ours, "disk_kb")
        metrics[f"gptdataset_disk_kb_per_sample{suffix}"] = middle(theirs, "disk_kb")
        metrics[f"gptdataset_disk_kb_per_sample{suffix}_no_read_ahead"] = middle(quiet, "disk_kb")
    return {**metrics, "samples_rss_mb": max(peaks)}


def measure_round(arguments: argparse.Namespace, isolate: bool) -> list[dict[str, float]]:
    """Samples that nobody has read yet: by our stream, by GPTDataset, and by GPTDataset without read-ahead."""
    run(arguments, "fill", "--first", str(arguments.first))
    extra = ["--first", str(arguments.first), *(["--isolate"] if isolate else [])]
    arguments.first += arguments.samples
    rows = [evicted(arguments, role, *extra) for role in ("our_samples", "their_samples")]
    rows.append(evicted(arguments, "their_samples", *extra, "--no-read-ahead"))
    say(str(rows))
    return rows


def ratios(name: str, ours: list[dict[str, float]], theirs: list[dict[str, float]], key: str) -> dict[str, float]:
    """The median of ours over theirs, round by round, with its spread."""
    values = [a[key] / b[key] for a, b in zip(ours, theirs, strict=True)]
    return {name: statistics.median(values), f"{name}_min": min(values), f"{name}_max": max(values)}


def notes(arguments: argparse.Namespace) -> str:
    """How the figures were taken, in words."""
    device = os.stat(arguments.folder).st_dev
    read_ahead = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/queue/read_ahead_kb")
    read_ahead_kb = read_ahead.read_text().strip() if read_ahead.is_file() else "unknown"
    return (
        f"Medians of {arguments.repeats} repeats, ours and GPTDataset's in turn, each in a fresh process, one torch "
        "thread, on a machine that others used too. Start-up: opening the files to the first sample in hand, with the "
        ".idx, .bin and cache files put out of the page cache (posix_fadvise DONTNEED after fsync); startup_process_s "
        "adds Python and torch; memory is VmHWM of the whole process, torch included. Samples: seq_length "
        f"{SEQ_LENGTH}, consecutive numbers of the shuffled epoch, as training asks for them, {arguments.samples} a "
        "repeat, each returned as tokens, labels, loss_mask and position_ids (GPTDataset with "
        "create_attention_mask=False). Cold (the names without _warm): files out of the page cache before each "
        "process starts; the .bin is a hole except where these samples lie, where random tokens were written and "
        "synced before; disk_kb_per_sample is what the kernel fetched (read_bytes of /proc/self/io). Warm: the same "
        f"samples again, the mean of {WARM_PASSES} passes. _isolated: documents apart, for GPTDataset "
        f"reset_position_ids and eod_mask_loss. The disk reads ahead {read_ahead_kb} KB, which GPTDataset's mappings "
        "pay at every fault; _no_read_ahead is GPTDataset with MADV_RANDOM set on all of them, which it does not do "
        "itself. The disk is a virtual one whose own cache cannot be emptied, and the tokens written for one repeat "
        "lie close together on it, which is kind to both sides."
    )


def run(arguments: argparse.Namespace, role: str, *extra: str) -> dict[str, float]:
    """One role in a fresh process."""
    command = [sys.executable, __file__, "--folder", str(arguments.folder), "--samples", str(arguments.samples)]
    start = time.perf_counter()
    done = subprocess.run([*command, "--role", role, *extra], stdout=subprocess.PIPE, check=True)
    return {**json.loads(done.stdout.splitlines()[-1]), "process_seconds": time.perf_counter() - start}


def evicted(arguments: argparse.Namespace, role: str, *extra: str) -> dict[str, float]:
    """One role in a fresh process, with its files out of the page cache."""
    for path in arguments.folder.rglob("*.*"):
        with open(path, "rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return run(arguments, role, *extra)


def write_dataset(folder: Path, documents: int) -> int:
    """The .idx of documents of random lengths and a .bin of the fitting size, all hole; returns the tokens."""
    size = 0
    with open(folder / "data.idx", "wb") as stream:
        stream.write(struct.pack("<9sQBQQ", b"MMIDIDX\x00\x00", 1, 4, documents, documents + 1))
        for lengths in document_lengths(documents):
            stream.write(lengths.tobytes())
        for lengths in document_lengths(documents):
            ends = size + np.cumsum(lengths, dtype=np.int64) * 4
            stream.write((ends - lengths.astype(np.int64) * 4).tobytes())
            size = int(ends[-1])
        for first in range(0, documents + 1, CHUNK):
            stream.write(np.arange(first, min(first + CHUNK, documents + 1), dtype=np.int64).tobytes())
    with open(folder / "data.bin", "wb") as stream:
        stream.truncate(size)
    return size // 4


def document_lengths(documents: int) -> Iterator[np.ndarray]:
    """The same `int32` lengths at every call, in chunks."""
    for first in range(0, documents, CHUNK):
        random = np.random.default_rng(first)
        yield (random.exponential(MEAN_DOCUMENT - 0.5, min(CHUNK, documents - first)) + 1).astype(np.int32)


def our_start(arguments: argparse.Namespace) -> dict[str, float]:
    get = our_getter(arguments)
    start = time.perf_counter()
    get()(0)
    return {"seconds": time.perf_counter() - start}


def their_start(arguments: argparse.Namespace) -> dict[str, float]:
    get = their_getter(arguments)
    start = time.perf_counter()
    get()[0]
    return {"seconds": time.perf_counter() - start}


def our_samples(arguments: argparse.Namespace) -> dict[str, float]:
    return measure_samples(our_getter(arguments)(), arguments)


def their_samples(arguments: argparse.Namespace) -> dict[str, float]:
    dataset = their_getter(arguments)()
    if arguments.no_read_ahead:
        for mapped in (
            dataset.dataset.index.bin_buffer_mmap,
            dataset.dataset.bin_reader._bin_buffer_mmap,
            dataset.document_index,
            dataset.sample_index,
            dataset.shuffle_index,
        ):
            mapped._mmap.madvise(mmap.MADV_RANDOM)
    return measure_samples(dataset.__getitem__, arguments)


def measure_samples(get: Callable[[int], dict[str, Any]], arguments: argparse.Namespace) -> dict[str, float]:
    """Samples a second, the first time and again."""
    get(arguments.first)  # for the code paths; not measured
    numbers = range(arguments.first + 1, arguments.first + arguments.samples)
    seconds, read = [], []
    for _ in range(1 + WARM_PASSES):
        before, start = bytes_from_disk(), time.perf_counter()
        for number in numbers:
            assert get(number)["labels"].numel() == SEQ_LENGTH
        seconds.append(time.perf_counter() - start)
        read.append(bytes_from_disk() - before)
    return {
        "cold": len(numbers) / seconds[0],
        "warm": len(numbers) / statistics.mean(seconds[1:]),
        "disk_kb": read[0] / len(numbers) / 1000,
    }


def fill(arguments: argparse.Namespace) -> dict[str, float]:
    """Writes tokens where either side will read the samples of one repeat."""
    dataset = their_getter(arguments)()
    stream = our_stream(arguments)
    pointers, lengths = dataset.dataset.index.sequence_pointers, dataset.dataset.index.sequence_lengths
    random = np.random.default_rng(arguments.first)
    with open(arguments.folder / "data.bin", "r+b") as file:

        def write(position: int, count: int) -> None:
            ids = random.integers(0, VOCABULARY, count, dtype=np.int32)
            os.pwrite(file.fileno(), ids.tobytes(), position * 4)

        for number in range(arguments.first, arguments.first + arguments.samples):
            write(stream.position(number), SEQ_LENGTH + 1)
            for document in dataset._query_document_sample_shuffle_indices(number)[1]:
                write(int(pointers[document]) // 4, int(lengths[document]))
        os.fsync(file.fileno())
    return {}


def our_stream(arguments: argparse.Namespace) -> Any:
    from megatron_redone.datasets.token_stream import TokenStream
    from megatron_redone.datasets.vocabulary import Vocabulary

    prefix = str(arguments.folder / "data")
    return TokenStream(prefix, seq_length=SEQ_LENGTH, seed=1234, vocabulary=Vocabulary(size=VOCABULARY))


def our_getter(arguments: argparse.Namespace) -> Callable[[], Callable[[int], dict[str, Any]]]:
    """What opens our stream, once everything is imported, and answers a function from number to sample."""
    import torch

    from megatron_redone.datasets.token_rows import isolated_documents, whole_rows

    torch.set_num_threads(1)

    def open_stream() -> Callable[[int], dict[str, Any]]:
        stream = our_stream(arguments)
        if arguments.isolate:
            return lambda number: vars(isolated_documents([stream.tokens(number)], [stream.document_starts(number)]))
        return lambda number: vars(whole_rows([stream.tokens(number)]))

    return open_stream


def their_getter(arguments: argparse.Namespace) -> Callable[[], Any]:
    """What opens a GPTDataset, building its indices where they are not cached, once everything is imported."""
    import torch
    from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
    from megatron.core.datasets.utils import Split

    torch.set_num_threads(1)
    prefix = str(arguments.folder / "data")
    config = GPTDatasetConfig(
        random_seed=1234,
        sequence_length=SEQ_LENGTH,
        blend=([prefix], None),
        split="1,0,0",
        path_to_cache=str(arguments.folder / "cache"),
        tokenizer=Tokenizer(),  # type: ignore[arg-type]
        reset_position_ids=arguments.isolate,
        reset_attention_mask=False,
        eod_mask_loss=arguments.isolate,
        create_attention_mask=False,
    )

    def open_dataset() -> GPTDataset:
        low_level = GPTDataset.build_low_level_dataset(prefix, config)
        documents = np.arange(len(low_level), dtype=np.int32)
        return GPTDataset(low_level, prefix, documents, None, Split.train, config)

    return open_dataset


class Tokenizer:
    """The little that GPTDataset asks of a tokenizer."""

    vocab_size = VOCABULARY
    eod = 0
    unique_identifiers = "synthetic"


def peak_rss_mb() -> float:
    """The most memory that this process has had resident."""
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def bytes_from_disk() -> int:
    """What the kernel has fetched from the disk for this process, faults of mappings included."""
    line = next(line for line in open("/proc/self/io") if line.startswith("read_bytes"))
    return int(line.split()[1])


def middle(rows: list[dict[str, float]], key: str) -> float:
    """The median of one figure."""
    return statistics.median(row[key] for row in rows)


def say(text: str) -> None:
    """Progress, beside the figures."""
    print(text, file=sys.stderr, flush=True)


ROLES: dict[str, Callable[[argparse.Namespace], dict[str, float]]] = {
    "our_start": our_start,
    "our_samples": our_samples,
    "their_start": their_start,
    "their_samples": their_samples,
    "fill": fill,
}

if __name__ == "__main__":
    main()
