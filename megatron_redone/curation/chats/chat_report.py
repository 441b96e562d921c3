"""OUTPUT_DIR/manifest.json, the list of the sources of chat data, and the same as a table."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from megatron_redone.curation.chats.chat_data import ChatData, SourcePlan
from megatron_redone.curation.plain_table import plain_table
from megatron_redone.formats.atomic import write_json
from megatron_redone.formats.input_records import invalid_path
from megatron_redone.formats.manifest import read_manifest

log = logging.getLogger(__name__)

_LISTING_FORMAT = "megatron_redone.sources/1"
_REASONS_SHOWN = 3


def listing_path(folder: str) -> Path:
    """Where the list of the sources lies."""
    return Path(folder) / "manifest.json"


def write_listing(folder: str, data: ChatData, plans: Sequence[SourcePlan]) -> None:
    """Writes the list of the sources: name, capability, counts of each split, invalid records."""
    content = {
        "format": _LISTING_FORMAT,
        "stage": data.stage,
        "sources": [_entry(data, plan) for plan in plans],
    }
    write_json(listing_path(folder), content)


def log_table(data: ChatData, plans: Sequence[SourcePlan]) -> None:
    """One line a source: what it holds, the fraction of its tokens that are trained, and what is invalid."""
    header = ("source", "capability", data.unit, "held out", "tokens", "trained", "invalid")
    entries = [_entry(data, plan) for plan in plans]
    for line in plain_table(header, [_row(data, entry) for entry in entries], words=(0, 1)):
        log.info("%s", line)
    for plan, entry in zip(plans, entries, strict=True):
        _log_remarks(data, plan, entry)


def _entry(data: ChatData, plan: SourcePlan) -> dict[str, Any]:
    manifests = {split: read_manifest(prefix) for split, prefix in plan.splits.items()}
    train = manifests["train"]
    assert train is not None, "a source without its manifest"
    counts = ("records", "invalid", "invalid_by_reason", "with_special_tokens", "lost_parts", "unused_responses")
    return {
        "name": plan.source.name,
        "capability": plan.source.capability,
        "record_formats": train["record_formats"],
        **{name: train["counts"][name] for name in counts if name in train["counts"]},
        **{split: _counts(data, manifest) for split, manifest in manifests.items() if manifest is not None},
    }


def _counts(data: ChatData, manifest: dict[str, Any]) -> dict[str, int]:
    return {name: manifest["counts"][name] for name in (data.unit, "tokens", "trained_tokens")}


def _row(data: ChatData, entry: dict[str, Any]) -> tuple[str, ...]:
    splits = [entry[split] for split in ("train", "validation") if split in entry]
    tokens, trained = (sum(split[name] for split in splits) for name in ("tokens", "trained_tokens"))
    return (
        entry["name"],
        entry["capability"],
        f"{splits[0][data.unit]:,}",
        f"{splits[1][data.unit]:,}" if len(splits) > 1 else "-",
        f"{tokens:,}",
        f"{100 * trained / tokens:.1f} %",
        f"{entry['invalid']:,}",
    )


def _log_remarks(data: ChatData, plan: SourcePlan, entry: dict[str, Any]) -> None:
    if entry["invalid"]:
        log.warning("%s: invalid records are listed in %s:", entry["name"], invalid_path(plan.prefix))
        for reason, number in list(entry["invalid_by_reason"].items())[:_REASONS_SHOWN]:
            log.warning("  %s  %s", f"{number:>10,}", reason)
    if entry["with_special_tokens"]:
        log.warning(
            "%s: special tokens are written in the text of %s records, and became their ids; "
            "refuse_special_tokens=true refuses such records",
            entry["name"],
            f"{entry['with_special_tokens']:,}",
        )
    if entry.get("lost_parts"):
        lost = ", ".join(f"{kind} {number:,}" for kind, number in sorted(entry["lost_parts"].items()))
        log.warning(
            "%s: the chat template leaves out parts of answers (%s); %s", entry["name"], lost, data.answer_advice
        )
    if entry.get("unused_responses"):
        log.warning(
            "%s: %s responses are neither the best nor the worst of their record, and in no pair",
            entry["name"],
            f"{entry['unused_responses']:,}",
        )
