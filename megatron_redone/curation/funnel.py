"""What became of every document: counts by step and source that must add up, as a table and as JSON."""

import dataclasses
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from megatron_redone.curation.counting import Amount, Flow, read_flows
from megatron_redone.curation.plain_table import plain_table
from megatron_redone.curation.post_filter import comments_of
from megatron_redone.errors import UserError

_REASONS_SHOWN = 3
# Steps that change the texts of the documents that they keep.
_CHANGING = ("read", "clean", "advertising", "personal", "repetition", "threads", "contamination")


@dataclass
class Dropped:
    """What a step dropped, as it lies on the disk."""

    amount: Amount = field(default_factory=Amount)
    reasons: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Row:
    """One step, one source.

    Attributes:
        entered: What came.
        dropped: What was dropped whole; counted anew from the files that it was written to.
        comments_dropped: Comments that were taken out of threads, likewise.
        held_out: What was set apart for validation, likewise.
        left: What went on.
        reasons: Documents dropped, by reason.
    """

    step: str
    source: str
    entered: Amount
    dropped: Amount
    comments_dropped: int
    held_out: Amount
    left: Amount
    reasons: dict[str, int]


def build_funnel(steps: Sequence[str], sources: Sequence[str], work: Path) -> list[Row]:
    """Gathers the counts of all tasks and the files of what was dropped.

    Args:
        steps: In order.
        sources: In order.
        work: With the folders `counts`, `dropped` and `held_out`.
    """
    rows = []
    for step in steps:
        flows = read_flows(work / "counts" / step)
        for source in sources:
            flow = flows.get(source, Flow(Amount(), Amount()))
            dropped = count_records(work / "dropped" / step / source)
            comments = count_records(work / "dropped" / comments_of(step) / source)
            held_out = count_records(work / "held_out" / source) if step == "held_out" else Dropped()
            rows.append(
                Row(
                    step=step,
                    source=source,
                    entered=flow.entered,
                    dropped=dropped.amount,
                    comments_dropped=comments.amount.documents,
                    held_out=held_out.amount,
                    left=flow.left,
                    reasons=dict(dropped.reasons.most_common()),
                )
            )
    return rows


def check_funnel(rows: Sequence[Row]) -> None:
    """Stops where a document or a comment is missing or one too many.

    Raises:
        UserError: what does not add up.
    """
    last: dict[str, Row] = {}
    for row in rows:
        before = last.get(row.source)
        if before is not None and before.left != row.entered:
            raise _mismatch(row, f"{before.left} left '{before.step}', but {row.entered} entered")
        _check_row(row)
        last[row.source] = row


def _check_row(row: Row) -> None:
    gone = Amount()
    for amount in (row.dropped, row.held_out, row.left):
        gone.add(amount)
    if row.entered.documents != gone.documents:
        raise _mismatch(row, f"{row.entered.documents:,} documents entered, {gone.documents:,} are accounted for")
    if row.step != "read" and row.entered.comments != gone.comments + row.comments_dropped:
        comments = gone.comments + row.comments_dropped
        raise _mismatch(row, f"{row.entered.comments:,} comments entered, {comments:,} are accounted for")
    if row.step not in _CHANGING and row.entered.characters != gone.characters:
        raise _mismatch(row, f"{row.entered.characters:,} characters entered, {gone.characters:,} are accounted for")


def _mismatch(row: Row, what: str) -> UserError:
    return UserError(
        f"the counts of step '{row.step}' do not add up for source '{row.source}': {what}; is the disk full, or did "
        "an input change while it was read? Remove the folder 'work' in output_dir and run again"
    )


def count_records(folder: Path) -> Dropped:
    """Counts the records of all files of a folder."""
    total = Dropped()
    for record in read_all(folder):
        text = len(record["text"])
        total.amount.add(Amount(1, record.get("comments", 0), text, record.get("tokens", 0)))
        total.reasons[record.get("reason", "")] += 1
    return total


def read_all(folder: Path) -> Iterator[Any]:
    """The records of all plain .jsonl files of a folder, in order."""
    for path in sorted(folder.glob("*.jsonl")):
        with open(path, "rb") as stream:
            yield from map(json.loads, stream)


def funnel_json(rows: Sequence[Row], tokens: bool) -> list[dict[str, Any]]:
    """The rows as plain values; without tokens where none were counted."""
    content = [dataclasses.asdict(row) for row in rows]
    if not tokens:
        for row in content:
            for name in ("entered", "dropped", "held_out", "left"):
                del row[name]["tokens"]
    return content


def funnel_table(rows: Sequence[Row], tokens: bool) -> str:
    """The rows as a text table, one block for each source and, where there are several, one for their sum."""
    by_source: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_source[row.source].append(row)
    if len(by_source) > 1:
        by_source["all sources"] = [_sum(step) for step in zip(*by_source.values(), strict=True)]
    return "\n\n".join(_block(name, block, tokens) for name, block in by_source.items())


def _sum(rows: Sequence[Row]) -> Row:
    entered, dropped, held_out, left = Amount(), Amount(), Amount(), Amount()
    reasons: Counter[str] = Counter()
    for row in rows:
        entered.add(row.entered)
        dropped.add(row.dropped)
        held_out.add(row.held_out)
        left.add(row.left)
        reasons.update(row.reasons)
    comments = sum(row.comments_dropped for row in rows)
    return Row(rows[0].step, "all sources", entered, dropped, comments, held_out, left, dict(reasons.most_common()))


def _block(name: str, rows: Sequence[Row], tokens: bool) -> str:
    header = [name, "documents", "dropped", "%", "comments", "characters", *(["tokens"] if tokens else [])]
    lines = [_cells(row, tokens) for row in rows]
    if rows[-1].held_out.documents:
        lines.append(_held_out_cells(rows[-1].held_out, tokens))
    return "\n".join(plain_table([*header, "dropped most because"], lines, words=(0, len(header))))


def _cells(row: Row, tokens: bool) -> list[str]:
    left, fraction = row.left, row.dropped.documents / max(1, row.entered.documents)
    reasons = "; ".join(f"{reason} {number:,}" for reason, number in list(row.reasons.items())[:_REASONS_SHOWN])
    return [
        f"  {row.step}",
        f"{left.documents:,}",
        f"{row.dropped.documents:,}",
        f"{fraction:.1%}",
        f"{left.comments:,}",
        f"{left.characters:,}",
        *([f"{left.tokens:,}"] if tokens else []),
        reasons,
    ]


def _held_out_cells(apart: Amount, tokens: bool) -> list[str]:
    counted = [f"{apart.tokens:,}"] if tokens else []
    return [
        "  and held out",
        f"{apart.documents:,}",
        "",
        "",
        f"{apart.comments:,}",
        f"{apart.characters:,}",
        *counted,
        "",
    ]
