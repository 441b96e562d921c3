"""online.json, the table and the invalid records beside it: whether they are there, and how they are written."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from megatron_redone.config.estimate_online import EstimateOnlineConfig
from megatron_redone.config.schema import plain
from megatron_redone.evaluation.online_estimates import Estimated
from megatron_redone.evaluation.online_tables import online_markdown
from megatron_redone.formats.atomic import write_text
from megatron_redone.formats.done_check import Finished, read_finished, write_sealed
from megatron_redone.formats.file_record import record_files

FORMAT = "megatron_redone.online/1"
RESULT, TABLE, INVALID = "online.json", "online.md", "invalid.jsonl"


def finished_estimates(output: Path) -> Finished | None:
    """What online.json in a folder says; None where there is none."""
    return read_finished(output / RESULT, lambda content: content.get("files", {}))


def write_estimates(output: Path, config: EstimateOnlineConfig, found: Sequence[Estimated], work: str) -> str:
    """Writes all files, online.json last; returns the table."""
    (output / RESULT).unlink(missing_ok=True)
    content: dict[str, Any] = {
        "format": FORMAT,
        "work": work,
        "confidence": config.bootstrap.confidence,
        "sources": [{"name": one.name, "records": one.records, "invalid": len(one.invalid)} for one in found],
        "estimates": [record for one in found for record in one.estimates],
        "config": plain(config),
    }
    table = online_markdown(content)
    write_text(output / TABLE, table)
    write_text(output / INVALID, "".join(record.as_line() for one in found for record in one.invalid))
    files = record_files(output, [output / TABLE, output / INVALID])
    write_sealed(output / RESULT, {**content, "files": files})
    return table
