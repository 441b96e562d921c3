"""The files of an entry of `redone build-preferences`, and what is logged about it."""

import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_redone import __version__
from megatron_redone.config.build_preferences import AnnotatedConfig, JudgedConfig, ObjectiveConfig, StructuralConfig
from megatron_redone.config.schema import plain
from megatron_redone.curation.pair_building.labelled_records import NoPair, Pair
from megatron_redone.curation.pair_building.result import Result
from megatron_redone.formats.atomic import write_text
from megatron_redone.formats.done_check import Finished, read_finished, write_sealed
from megatron_redone.formats.file_record import record_files
from megatron_redone.formats.json_values import to_json

log = logging.getLogger(__name__)

FORMAT = "megatron_redone.built_preferences/2"
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
    def no_pairs(self) -> Path:
        """Records of which no pair was made, with the reason."""
        return self.folder / f"{self.name}.no_pairs.jsonl"

    @property
    def summary(self) -> Path:
        """Counts and agreements; its presence says that the others are complete."""
        return self.folder / f"{self.name}.summary.json"


def finished_entry(files: EntryFiles) -> Finished | None:
    """What an entry's summary says of its files; None without one."""
    return read_finished(files.summary, lambda summary: summary.get("files", {}))


def write_no_pairs(files: EntryFiles, result: Result) -> None:
    """Writes the records of which no pair was made; what is known of earlier pairs goes first."""
    files.summary.unlink(missing_ok=True)
    if result.no_pairs:
        _write_lines(files.no_pairs, map(_no_pair_line, result.no_pairs))
    else:
        files.no_pairs.unlink(missing_ok=True)


def write_result(files: EntryFiles, entry: Entry, result: Result, work: str) -> dict[str, Any]:
    """Writes pairs and then the summary, which it returns.

    Args:
        files: Where to.
        entry: What was built.
        result: What it gave.
        work: Hash of everything that decides the content.
    """
    strategy = type(entry).__name__.removesuffix("Config").lower()
    _write_lines(files.pairs, (_line(strategy, entry, pair) for pair in result.pairs))
    written = [files.pairs, files.no_pairs] if result.no_pairs else [files.pairs]
    summary = {
        "format": FORMAT,
        "name": entry.name,
        "strategy": strategy,
        "counts": _counts(result),
        "no_pair_by_reason": result.no_pair_by_reason,
        **result.metrics,
        "work": work,
        "files": record_files(files.folder, written),
        "inputs": [dataclasses.asdict(file) for file in result.records.files],
        "config": plain(entry),
        "version": __version__,
    }
    write_sealed(files.summary, summary)
    return summary


def log_result(summary: Mapping[str, Any], examples: Sequence[Pair]) -> None:
    """Logs counts, reasons, agreements and some pairs."""
    counts = summary["counts"]
    log.info(
        "%s (%s): %s records, %s pairs, %s times no pair",
        summary["name"],
        summary["strategy"],
        *(f"{counts[name]:,}" for name in ("records", "pairs", "no_pairs")),
    )
    for reason, count in summary["no_pair_by_reason"].items():
        log.info("  no pair %6s  %s", f"{count:,}", reason)
    for name in ("agreement", "candidates", "wrong_candidates"):
        if name in summary:
            log.info("  %s: %s", name.replace("_", " "), _as_text(summary[name]))
    for number, pair in enumerate(examples, 1):
        log.info("  example %d, %s", number, pair.record.origin)
        parts = {"prompt": pair.record.messages[-1]["content"], "chosen": pair.chosen, "rejected": pair.rejected}
        for name, text in parts.items():
            log.info("    %-8s  %s", name, _shortened(text))


def _counts(result: Result) -> dict[str, Any]:
    pairs = result.pairs
    return {
        "records": result.records.total,
        "invalid": sum(item.is_invalid for item in result.no_pairs),
        "pairs": len(pairs),
        "no_pairs": len(result.no_pairs),
        "mean_characters_chosen": round(sum(len(pair.chosen) for pair in pairs) / len(pairs), 1),
        "mean_characters_rejected": round(sum(len(pair.rejected) for pair in pairs) / len(pairs), 1),
    }


def _write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    write_text(path, "".join(to_json(line).decode() + "\n" for line in lines))


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


def _no_pair_line(item: NoPair) -> dict[str, Any]:
    return {"origin": item.origin, "reason": item.reason, "invalid": item.is_invalid, "record": item.excerpt}


def _as_text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_as_text(inner)}" for name, inner in value.items() if inner != {})
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else line[: _SHOWN - 3] + "..."
