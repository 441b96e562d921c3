"""funnel.json of `redone curate` as rows to draw."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ALL = "all sources"


@dataclass(frozen=True, kw_only=True)
class FunnelStep:
    """What a step left of a source.

    Attributes:
        step: Its name.
        documents: How many went on.
        characters: Of them.
        tokens: Of them; None where none were counted.
        dropped: Documents dropped whole.
        held_out: Documents set apart for validation.
        reasons: Documents dropped, by reason, the most frequent first.
    """

    step: str
    documents: int
    characters: int
    tokens: int | None
    dropped: int
    held_out: int
    reasons: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class SourceFunnel:
    """All steps of a source, and what it began with."""

    source: str
    entered: int
    steps: list[FunnelStep]

    @property
    def left(self) -> FunnelStep:
        """The last step."""
        return self.steps[-1]


def read_funnel(content: Mapping[str, Any]) -> list[SourceFunnel]:
    """A funnel for each source, behind the one of all of them where there are several.

    Raises:
        KeyError, TypeError: this is no funnel.json.
    """
    by_source: dict[str, list[Mapping[str, Any]]] = {}
    for row in content["rows"]:
        by_source.setdefault(row["source"], []).append(row)
    funnels = [_funnel(source, rows) for source, rows in by_source.items()]
    return [_sum(funnels), *funnels] if len(funnels) > 1 else funnels


def _funnel(source: str, rows: Sequence[Mapping[str, Any]]) -> SourceFunnel:
    steps = [
        FunnelStep(
            step=row["step"],
            documents=row["left"]["documents"],
            characters=row["left"]["characters"],
            tokens=row["left"].get("tokens"),
            dropped=row["dropped"]["documents"],
            held_out=row["held_out"]["documents"],
            reasons=row["reasons"],
        )
        for row in rows
    ]
    return SourceFunnel(source=source, entered=rows[0]["entered"]["documents"], steps=steps)


def _sum(funnels: Sequence[SourceFunnel]) -> SourceFunnel:
    steps = [_sum_step(rows) for rows in zip(*(funnel.steps for funnel in funnels), strict=True)]
    return SourceFunnel(source=ALL, entered=sum(funnel.entered for funnel in funnels), steps=steps)


def _sum_step(rows: Sequence[FunnelStep]) -> FunnelStep:
    reasons: Counter[str] = Counter()
    for row in rows:
        reasons.update(row.reasons)
    tokens = [row.tokens for row in rows if row.tokens is not None]
    return FunnelStep(
        step=rows[0].step,
        documents=sum(row.documents for row in rows),
        characters=sum(row.characters for row in rows),
        tokens=sum(tokens) if len(tokens) == len(rows) else None,
        dropped=sum(row.dropped for row in rows),
        held_out=sum(row.held_out for row in rows),
        reasons=dict(reasons.most_common()),
    )
