"""How full the rows of a fine-tuning run are: packed anew from its configuration and data, which takes a second."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from megatron_redone.config.loader import load_config
from megatron_redone.config.sft import SftConfig
from megatron_redone.report.run_history import FINE_TUNING, RunHistory


@dataclass(frozen=True, kw_only=True)
class PackedSource:
    """A source of a run.

    Attributes:
        run: The run's name.
        source: The source's name.
        conversations: How many are in rows.
        rows: Of `seq_length` places.
        efficiency: Share of the places that hold a token.
        unpacked: The same fraction with one conversation a row.
        truncated: Conversations that lost their end.
        dropped: Conversations that are in no row.
    """

    run: str
    source: str
    conversations: int
    rows: int
    efficiency: float
    unpacked: float
    truncated: int
    dropped: int


def packed_sources(run: RunHistory) -> Iterator[PackedSource]:
    """The sources of a fine-tuning run; none of other runs.

    Raises:
        UserError: a dataset is not there any more, or the configuration is of another version.
    """
    if run.kind != FINE_TUNING:
        return
    from megatron_redone.datasets.packed_rows import PackedRows  # brings torch, which the page needs for nothing else

    config = load_config(SftConfig, str(Path(run.path) / "config.yaml"))
    for source in config.data.blend:
        rows = PackedRows(source.path, config.data, shuffle=False)
        rows.close()
        yield PackedSource(
            run=run.name,
            source=source.label,
            conversations=rows.conversations,
            rows=rows.samples_per_epoch,
            efficiency=rows.efficiency,
            unpacked=rows.efficiency * rows.samples_per_epoch / rows.conversations,
            truncated=rows.truncated,
            dropped=rows.dropped,
        )
