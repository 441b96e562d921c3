"""Joins indexed datasets into one, under the flags of Megatron-LM's tools/merge_datasets.py.

Copies in blocks: memory does not grow with the datasets.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from megatron_redone.cli import guarded
from megatron_redone.errors import UserError
from megatron_redone.formats.indexed import DatasetPaths, IndexedDataset, IndexedDatasetWriter
from megatron_redone.formats.manifest import read_manifest


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the flags and merges; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True, help="a directory: all of its datasets, sorted by name")
    parser.add_argument("--output-prefix", required=True, help="path of the merged dataset without suffix")
    arguments = parser.parse_args(argv)
    return guarded("merge_datasets.py", lambda: merge(Path(arguments.input), arguments.output_prefix))


def merge(folder: Path, output_prefix: str) -> None:
    """Writes one dataset of all datasets of a folder.

    Raises:
        UserError: none is there, they do not fit together, or the output is there already.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such directory")
    output = DatasetPaths.of(output_prefix)
    if output.idx.exists():
        raise UserError(f"{output.idx}: is there already; remove it or choose another --output-prefix")
    prefixes = sorted(path.with_suffix("") for path in folder.glob("*.idx"))
    if not prefixes:
        raise UserError(f"{folder}: holds no .idx file")
    parts = [IndexedDataset(prefix) for prefix in prefixes]
    _check_same("token type", {str(p): part.dtype.name for p, part in zip(prefixes, parts, strict=True)})
    manifests = {str(p): m for p in prefixes if (m := read_manifest(p)) is not None}
    _check_same("tokenizer", {p: m["tokenizer"]["fingerprint"] for p, m in manifests.items()})
    with IndexedDatasetWriter(output_prefix, parts[0].dtype, checksum=True) as writer:
        for part in parts:
            writer.add_dataset(part)
        summary = writer.finish()
    print(f"{output_prefix}: {len(parts)} datasets, {summary.documents:,} documents, {summary.tokens:,} tokens")


def _check_same(what: str, values: dict[str, str]) -> None:
    first = next(iter(values.items()), None)
    for name, value in values.items():
        if first is not None and value != first[1]:
            raise UserError(f"{name}: {what} {value}, but {first[0]} has {first[1]}; such datasets cannot be merged")


if __name__ == "__main__":
    sys.exit(main())
