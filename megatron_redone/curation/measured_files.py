"""What a measurement leaves: tables of what steps and thresholds would cost, examples, and the file to approve."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from megatron_redone import __version__
from megatron_redone.config.curate import CurateConfig
from megatron_redone.config.schema import config_hash, plain
from megatron_redone.curation.measuring import Tally, gather_tally
from megatron_redone.curation.outputs import FORMAT, MANIFEST
from megatron_redone.curation.passes import Work, dropping_steps
from megatron_redone.curation.plain_table import plain_table
from megatron_redone.curation.thresholds import FILE, thresholds_of, write_thresholds
from megatron_redone.formats.atomic import write_json, write_text
from megatron_redone.formats.done_check import write_sealed
from megatron_redone.formats.file_record import record_files

REPORT = "measured.json"
TABLE = "measured.txt"


class FinishMeasure(PipelineStep):
    """Joins what all tasks counted, and last writes the manifest, which says that all is there."""

    type = "🏁 - FINISH"
    name = "finish measuring"

    def __init__(self, config: CurateConfig, work_hash: str, measured: str, folder: Path) -> None:
        """Prepares to write.

        Args:
            config: The configuration.
            work_hash: Of the result.
            measured: Of what was measured, which the approved file must be of.
            folder: The work folder.
        """
        super().__init__()
        self.config = config
        self.work_hash = work_hash
        self.measured = measured
        self.work = Work(folder)
        self.output = Path(config.output_dir)

    def run(self, data: Iterator[Document] | None = None, rank: int = 0, world_size: int = 1) -> None:
        """Writes measured.json, measured.txt, thresholds.yaml and manifest.json."""
        tally = gather_tally(self.config, self.work.measured)
        content = measured_content(self.config, tally)
        write_json(self.output / REPORT, content)
        write_text(self.output / TABLE, measured_text(content))
        write_thresholds(self.output / FILE, self.config, dropping_steps(self.config), self.measured)
        manifest = {
            "format": FORMAT,
            "work": self.work_hash,
            "config": plain(self.config),
            "config_hash": config_hash(self.config),
            "outputs": [],
            # Not the file that people are to change.
            "reports": record_files(self.output, [self.output / REPORT, self.output / TABLE]),
            "version": __version__,
        }
        write_sealed(self.output / MANIFEST, manifest)


def measured_content(config: CurateConfig, tally: Tally) -> dict[str, Any]:
    """The report as plain values."""
    sources = [source.name for source in config.sources]
    examples = {name: [example for *_, example in kept] for name, kept in tally.content()["examples"].items()}
    return {
        "documents": {name: tally.documents[name] for name in sources},
        "characters": {name: tally.characters[name] for name in sources},
        "steps": [_step(tally, step, source) for step in dropping_steps(config) for source in sources],
        "thresholds": list(_costs(config, tally, sources)),
        "examples": {step: examples.get(step, []) for step in dropping_steps(config)},
        "borders": {name: found for name, found in examples.items() if " " in name},
    }


def _step(tally: Tally, step: str, source: str) -> dict[str, Any]:
    reasons = {
        reason: count
        for (where, what, reason), count in tally.dropped.most_common()
        if (where, what) == (source, step) and reason
    }
    total = sum(reasons.values())
    return {
        "step": step,
        "source": source,
        "dropped": total,
        "fraction": round(total / max(1, tally.documents[source]), 6),
        "by_no_other_step": tally.dropped[source, step, ""],
        "reasons": reasons,
    }


def _costs(config: CurateConfig, tally: Tally, sources: list[str]) -> Iterator[dict[str, Any]]:
    kinds = {source.name: source.kind for source in config.sources}
    for one in thresholds_of(config):
        for source in sources:
            if one.kind is not None and one.kind is not kinds[source]:
                continue
            for value in one.looked_at(config):
                documents = tally.costs[one.name, source, f"{value:g}", "documents"]
                characters = tally.costs[one.name, source, f"{value:g}", "characters"]
                yield {
                    "threshold": one.name,
                    "source": source,
                    "value": value,
                    "is_present": value == one.of(config),
                    "documents": documents,
                    "fraction": round(documents / max(1, tally.documents[source]), 6),
                    "characters": characters,
                    "characters_fraction": round(characters / max(1, tally.characters[source]), 6),
                }


def measured_text(content: dict[str, Any]) -> str:
    """The report for people: tables, then examples."""
    steps = [
        [
            row["source"],
            row["step"],
            f"{row['dropped']:,}",
            f"{row['fraction']:.2%}",
            f"{row['by_no_other_step']:,}",
            "; ".join(f"{reason} {count:,}" for reason, count in list(row["reasons"].items())[:3]),
        ]
        for row in content["steps"]
    ]
    costs = [
        [
            row["threshold"],
            row["source"],
            f"{row['value']:g}" + (" *" if row["is_present"] else ""),
            f"{row['documents']:,}",
            f"{row['fraction']:.2%}",
            f"{row['characters_fraction']:.2%}",
        ]
        for row in content["thresholds"]
    ]
    head = ["source", "step", "would drop", "%", "no other step does", "most because"]
    cost_head = ["threshold", "source", "at", "would drop", "%", "% of characters"]
    parts = [
        "What each step would drop, asked about every document",
        *plain_table(head, steps, words=(0, 1, 5)),
        "",
        "What each threshold would drop by itself (* the present one)",
        *plain_table(cost_head, costs, words=(0, 1, 2)),
    ]
    for name, shown in {**content["examples"], **content["borders"]}.items():
        parts += ["", f"== {name}", *(_example_line(example) for example in shown)]
    return "\n".join(parts) + "\n"


def _example_line(example: dict[str, Any]) -> str:
    why = example.get("reason") or f"{example['measured']:.4g}"
    return f"[{example['source']} {example['id']}: {why}] " + " / ".join(example["text"].split("\n"))
