"""Speed of `redone curate` beside datatrove's own steps, on the same posts, side by side in one run, on one core.

    python tools/lay_out_shared_data.py --from ../shared/data --to DATA
    python tools/benchmarks/curation_speed.py --data DATA [--posts 20000] [--repeats 3]

Figures are megabytes of input for a second of processor time, without start-up. datatrove's filters are measured as
they come, for which spaCy must be installed (`pip install spacy`), and with words split at spaces, which is faster than
the tokenizer that they come with.
"""

import os
import sys

# The module `tokenize` of the standard library is hidden by a script in this folder, unless that comes last.
HERE = os.path.dirname(__file__)
sys.path[:] = [*(path for path in sys.path if os.path.abspath(path) != os.path.abspath(HERE)), HERE]

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from recording import record_part


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder that lay_out_shared_data.py wrote")
    parser.add_argument("--posts", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--notes", default="", help="what the machine was doing besides")
    arguments = parser.parse_args()
    lines = (arguments.data / "posts/social.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    random.Random(0).shuffle(lines)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "posts.jsonl"
        source.write_text("".join(lines[: arguments.posts]), encoding="utf-8")
        runs: dict[str, list[float]] = {name: [] for name in MEASURED}
        for _ in range(arguments.repeats):
            for name, measured in MEASURED.items():
                with tempfile.TemporaryDirectory() as work:
                    runs[name].append(source.stat().st_size / 1e6 / measured(source, Path(work)))
    medians = {name: statistics.median(speeds) for name, speeds in runs.items()}
    metrics = {
        **_ratios("rules_ratio_vs_datatrove", runs["rules"], runs["datatrove_stock_rules"]),
        **_ratios("rules_ratio_vs_datatrove_at_spaces", runs["rules"], runs["datatrove_rules"]),
        **_ratios("minhash_ratio_vs_datatrove", runs["minhash"], runs["datatrove_minhash"]),
        "mb_per_s_core": medians["whole"],
        **{f"{name}_mb_per_s": speed for name, speed in medians.items()},
    }
    notes = (
        f"Medians of {arguments.repeats} turns over {arguments.posts} posts; ratios are of neighbouring runs. rules: "
        "read, clean, advertising, personal data, repetition, length, exact duplicates, write. datatrove_rules: read, "
        "PIIFormatter, GopherRepetitionFilter, GopherQualityFilter, write; stock with spaCy's words as they come, else "
        "with words between spaces. minhash: normal forms, signatures and bands of texts in memory. "
        f"{arguments.notes}"
    )
    record_part("curation_speed", "speed", metrics, ["datatrove", "numpy", "xxhash", "orjson"], notes)


def _ratios(name: str, ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {name: statistics.median(ratios), f"{name}_min": min(ratios), f"{name}_max": max(ratios)}


def _timed(work: Callable[[], Any]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _drain(steps: Iterable[Any], rank: int, tasks: int) -> None:
    data = None
    for step in steps:
        data = step.run(data, rank, tasks)
    for _ in data or ():
        pass


def _curate(source: Path, work: Path, *keys: str) -> float:
    from megatron_redone.config.curate import CurateConfig
    from megatron_redone.config.loader import load_config
    from megatron_redone.curation.passes import plan_passes
    from megatron_redone.curation.reading import plan_shards
    from megatron_redone.formats.inputs import expand_inputs

    sources = f"sources=[{{name: posts, input: {source}, languages: [{'zh, en' if not keys else ''}]}}]"
    config = load_config(CurateConfig, None, [sources, f"output_dir={work}/out", *keys])
    shards = plan_shards([(config.sources[0], file) for file in expand_inputs([str(source)])], 1)
    passes = plan_passes(config, shards, work / "work")

    def run() -> None:
        for one in passes:
            for rank in range(one.tasks):
                _drain(one.steps, rank, one.tasks)

    return _timed(run)


def rules(source: Path, work: Path) -> float:
    """Seconds of our rules, personal data and exact duplicates."""
    return _curate(source, work, "deduplicate=exact", "held_out.fraction=0")


def whole(source: Path, work: Path) -> float:
    """Seconds of everything: languages, near duplicates and held-out documents too."""
    return _curate(source, work)


def datatrove_stock_rules(source: Path, work: Path) -> float:
    """Seconds of datatrove's filters as they come, with spaCy's English words, and its formatter of personal data."""
    from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter
    from datatrove.pipeline.formatters import PIIFormatter
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers.jsonl import JsonlWriter

    steps = [
        JsonlReader(str(source.parent), glob_pattern="posts.jsonl"),
        PIIFormatter(),
        GopherRepetitionFilter(exclusion_writer=JsonlWriter(str(work / "repetition"), compression=None)),
        GopherQualityFilter(min_doc_words=3, exclusion_writer=JsonlWriter(str(work / "quality"), compression=None)),
        JsonlWriter(str(work / "kept"), compression=None),
    ]
    return _timed(lambda: _drain(steps, 0, 1))


def datatrove_rules(source: Path, work: Path) -> float:
    """Seconds of the same where words are what stands between spaces, which takes no tokenizer."""
    from datatrove.pipeline.filters import gopher_quality_filter, gopher_repetition_filter

    with ExitStack() as stack:
        for module in (gopher_quality_filter, gopher_repetition_filter):
            stack.enter_context(patch.object(module, "split_into_words", lambda text, _: text.split()))
        return datatrove_stock_rules(source, work)


def _texts(source: Path) -> list[str]:
    with source.open(encoding="utf-8") as stream:
        return [json.loads(line)["text"] for line in stream]


def minhash(source: Path, work: Path) -> float:
    """Seconds of our fingerprints."""
    from datatrove.data import Document

    from megatron_redone.config.curate import MinHashConfig
    from megatron_redone.curation.prints import PrintWriter

    documents = [Document(text, "", metadata={"source": "posts"}) for text in _texts(source)]
    writer = PrintWriter(MinHashConfig(), True, 0, ["posts"], work, 1)
    return _timed(lambda: list(writer.run(iter(documents))))


def datatrove_minhash(source: Path, work: Path) -> float:
    """Seconds of datatrove's signatures, with its normalisation, 14 bands of 8."""
    import xxhash
    from datatrove.data import Document
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
    from datatrove.utils.text import simplify_text
    from datatrove.utils.word_tokenizers import WhitespaceTokenizer

    class Signature(MinhashDedupSignature):
        """datatrove's own, with hashes of bytes, which xxhash 4 asks for."""

        def get_shingles(self, text: str) -> np.ndarray:
            words = simplify_text(text, self.config.norm_config).split()
            n = self.config.n_grams
            found = [xxhash.xxh64_intdigest(" ".join(words[i : i + n]).encode()) for i in range(len(words) - n + 1)]
            return np.fromiter(found, np.uint64, len(found)).reshape(-1, 1)

    documents = [Document(text, "", metadata={}) for text in _texts(source)]
    sign = Signature(str(work), MinhashConfig(), WhitespaceTokenizer())  # type: ignore[arg-type]
    return _timed(lambda: sign.run(iter(documents)))


MEASURED: dict[str, Callable[[Path, Path], float]] = {
    "rules": rules,
    "datatrove_stock_rules": datatrove_stock_rules,
    "datatrove_rules": datatrove_rules,
    "minhash": minhash,
    "datatrove_minhash": datatrove_minhash,
    "whole": whole,
}

if __name__ == "__main__":
    main()
