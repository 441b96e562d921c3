"""Shows what is in an indexed dataset and checks it.

python tools/inspect_dataset.py PREFIX [--tokenizer DIR] [--documents 3] [--from 0] [--check]
"""

import argparse
import sys
from collections.abc import Sequence

import numpy as np

from megatron_redone.cli import guarded
from megatron_redone.config.tokenizer import TokenizerConfig
from megatron_redone.errors import UserError
from megatron_redone.formats.deep_check import problems
from megatron_redone.formats.indexed import IndexedDataset
from megatron_redone.formats.manifest import read_manifest
from megatron_redone.tokenization.tokenizer import Tokenizer

_BAR = 40  # characters of the longest bar
_BLOCK = 1 << 22


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the flags and prints; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prefix", help="path of the dataset without .bin or .idx")
    parser.add_argument("--tokenizer", help="to show texts; the manifest's where it names one that is there")
    parser.add_argument("--documents", type=int, default=3, help="how many to show")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first document to show")
    parser.add_argument("--check", action="store_true", help="read everything and look for damage")
    arguments = parser.parse_args(argv)
    return guarded("inspect_dataset.py", lambda: inspect(arguments))


def inspect(arguments: argparse.Namespace) -> None:
    """Prints the summary, the histogram and the documents asked for; checks if asked to.

    Raises:
        UserError: the dataset cannot be opened or does not pass the check.
    """
    dataset = IndexedDataset(arguments.prefix)
    if arguments.check:
        found = list(problems(dataset))
        if found:
            raise UserError("; ".join(found))
        known = " and those of the manifest" if read_manifest(arguments.prefix) else ""
        print(f"check passed: both files are consistent{known}")
    print_summary(dataset)
    print_histogram(dataset)
    print_documents(dataset, _tokenizer(arguments), arguments.first, arguments.documents)


def print_summary(dataset: IndexedDataset) -> None:
    """Documents, sequences, tokens and type."""
    mean = dataset.token_count / max(1, dataset.document_count)
    print(
        f"{dataset.document_count:,} documents, {dataset.sequence_count:,} sequences, {dataset.token_count:,} tokens "
        f"({dataset.dtype.name}), {mean:,.1f} tokens a document"
    )


def print_histogram(dataset: IndexedDataset) -> None:
    """Sequence lengths by powers of two."""
    counts = np.zeros(64, np.int64)
    for start in range(0, dataset.sequence_count, _BLOCK):
        lengths = dataset.sequence_lengths[start : start + _BLOCK]
        counts += np.bincount(np.frexp(lengths)[1], minlength=64)
    print("\ntokens in a sequence")
    for power in np.flatnonzero(counts):
        low, high = (1 << power) // 2, (1 << power) - 1
        bar = "#" * -(-_BAR * int(counts[power]) // int(counts.max()))
        print(f"{low:>9,} to {high:>9,}  {int(counts[power]):>12,}  {bar}")


def print_documents(dataset: IndexedDataset, tokenizer: Tokenizer | None, first: int, count: int) -> None:
    """Documents as text, or as ids without a tokenizer."""
    for number in range(first, min(first + count, dataset.document_count)):
        ids = dataset.document(number)
        print(f"\ndocument {number:,}, {len(ids):,} tokens")
        print(tokenizer.decode(ids.tolist()) if tokenizer else ids.tolist())


def _tokenizer(arguments: argparse.Namespace) -> Tokenizer | None:
    manifest = read_manifest(arguments.prefix)
    path = arguments.tokenizer or (manifest["tokenizer"]["path"] if manifest else None)
    if not path:
        return None
    try:
        return Tokenizer(TokenizerConfig(path=path), fast=False)
    except UserError:
        if arguments.tokenizer:
            raise
        return None  # the dataset was moved away from its tokenizer: ids are shown


if __name__ == "__main__":
    sys.exit(main())
