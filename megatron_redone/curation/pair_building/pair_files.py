"""The files of an entry of `redone build-preferences`, and what is told about it."""

import dataclasses
import enum
import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from megatron_redone import __version__
from megatron_redone.config.build_preferences import AnnotatedConfig, JudgedConfig, ObjectiveConfig, StructuralConfig
from megatron_redone.curation.pair_building.labelled_records import Pair, Skipped
from megatron_redone.curation.pair_building.result import Result
from megatron_redone.formats.atomic import write_json, write_text
from megatron_redone.formats.file_record import FileRecord

log = logging.getLogger(__name__)

FORMAT = "megatron_redone.built_preferences/1"
_SHOWN = 160  # characters of each part of an example

Entry = AnnotatedConfig | JudgedConfig | ObjectiveConfig | StructuralConfig


@dataclass(frozen=True)
class EntryFiles:
    """Where an entry's files lie."""

    folder: Path
    name: str

    @property
    def pairs(self) -> Path:
        """Pairs in TRL's form."""
        return self.folder / f"{self.name}.jsonl"

    @property
    def skipped(self) -> Path:
        """Records of which no pair was made, with the reason."""
        return self.folder / f"{self.name}.skipped.jsonl"

    @property
    def summary(self) -> Path:
        """Counts and agreements; its presence says that the others are complete."""
        return self.folder / f"{self.name}.summary.json"


def name_of_enum(value: Any) -> str:
    """For JSON, which knows no enumerations."""
    assert isinstance(value, enum.Enum), type(value)
    return value.name


def write_skipped(files: EntryFiles, result: Result) -> None:
    """Writes the records of which no pair was made; what is known of earlier pairs goes first."""
    files.summary.unlink(missing_ok=True)
    if result.skipped:
        _write_lines(files.skipped, map(_skipped_line, result.skipped))
    else:
        files.skipped.unlink(missing_ok=True)


def write_result(files: EntryFiles, entry: Entry, result: Result, work: str) -> dict[str, Any]:
    """Writes pairs and then the summary, which it returns.

    Args:
        files: Where to.
        entry: What was built.
        result: What it gave.
        work: Hash of everything that decides the content.
    """
    strategy = type(entry).__name__.removesuffix("Config").lower()
    written = _write_lines(files.pairs, (_line(strategy, entry, pair) for pair in result.pairs))
    summary = {
        "format": FORMAT,
        "name": entry.name,
        "strategy": strategy,
        "counts": _counts(result),
        "skipped_by_reason": result.skipped_by_reason,
        **result.figures,
        "work": work,
        "files": {files.pairs.name: dataclasses.asdict(written)},
        "inputs": [dataclasses.asdict(file) for file in result.records.files],
        "config": json.loads(json.dumps(dataclasses.asdict(entry), default=name_of_enum)),
        "version": __version__,
    }
    write_json(files.summary, summary)
    return summary


def tell(summary: Mapping[str, Any], examples: Sequence[Pair]) -> None:
    """Logs counts, reasons, agreements and some pairs."""
    counts = summary["counts"]
    totals = ", ".join(f"{counts[name]:,} {name}" for name in ("records", "pairs", "skipped"))
    log.info("%s (%s): %s", summary["name"], summary["strategy"], totals)
    for reason, count in summary["skipped_by_reason"].items():
        log.info("  skipped %6s  %s", f"{count:,}", reason)
    for name in ("agreement", "candidates", "wrong_candidates"):
        if name in summary:
            log.info("  %s: %s", name.replace("_", " "), _figures(summary[name]))
    for number, pair in enumerate(examples, 1):
        log.info("  example %d, %s", number, pair.record.origin)
        parts = {"prompt": pair.record.messages[-1]["content"], "chosen": pair.chosen, "rejected": pair.rejected}
        for name, text in parts.items():
            log.info("    %-8s  %s", name, _shortened(text))


def _counts(result: Result) -> dict[str, Any]:
    pairs = result.pairs
    return {
        "records": result.records.total,
        "malformed": sum(item.malformed for item in result.skipped),
        "pairs": len(pairs),
        "skipped": len(result.skipped),
        "mean_characters_chosen": round(sum(len(pair.chosen) for pair in pairs) / len(pairs), 1),
        "mean_characters_rejected": round(sum(len(pair.rejected) for pair in pairs) / len(pairs), 1),
    }


def _write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> FileRecord:
    content = b"".join(orjson.dumps(line) + b"\n" for line in lines)
    write_text(path, content.decode())
    return FileRecord(len(content), hashlib.sha256(content).hexdigest())


def _line(strategy: str, entry: Entry, pair: Pair) -> dict[str, Any]:
    """A pair in TRL's form, with the keys of NeMo-Aligner for rewards."""
    origin = {"strategy": strategy, "name": entry.name, "record": pair.record.id, "origin": pair.record.origin}
    return {
        "prompt": pair.record.messages,
        "chosen": [{"role": "assistant", "content": pair.chosen}],
        "rejected": [{"role": "assistant", "content": pair.rejected}],
        "chosen_reward": pair.chosen_reward,
        "rejected_reward": pair.rejected_reward,
        "provenance": {**origin, **pair.provenance},
    }


def _skipped_line(item: Skipped) -> dict[str, Any]:
    return {"origin": item.origin, "reason": item.reason, "malformed": item.malformed, "record": item.excerpt}


def _figures(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_figures(inner)}" for name, inner in value.items() if inner != {})
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else line[: _SHOWN - 3] + "..."
