"""What each threshold would cost: counted over documents of which none was dropped, a task at a time.

Every step is asked about every document, as the steps before it left its text; so a document can be wanted by
several. Examples are those with the lowest hashes: the same however the input is cut into tasks.
"""

import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from megatron_redone.config.curate import CurateConfig
from megatron_redone.curation.duplicate_lists import listed_numbers
from megatron_redone.curation.fingerprint import form_hash
from megatron_redone.curation.thresholds import NEAR, THRESHOLDS, Threshold
from megatron_redone.formats.atomic import write_json

_EXCERPT = 400

Example = dict[str, Any]


class Tally:
    """Counts and examples of one task, or of all."""

    def __init__(self, config: CurateConfig) -> None:
        self._config = config
        self._most = config.measure.examples
        self.documents: Counter[str] = Counter()
        self.characters: Counter[str] = Counter()
        self.dropped: Counter[tuple[str, ...]] = Counter()
        self.costs: Counter[tuple[str, ...]] = Counter()
        self.examples: defaultdict[str, list[tuple[float, int, Example]]] = defaultdict(list)

    def add(self, document: Document, near: dict[float, bool]) -> None:
        """Counts one document.

        Args:
            document: With the verdicts of the steps and what they measured.
            near: Whether it would go as a near duplicate, by `minhash.min_jaccard`.
        """
        metadata, text = document.metadata, document.text
        source, verdicts = metadata["source"], metadata.get("verdicts") or {}
        self.documents[source] += 1
        self.characters[source] += len(text)
        draw = form_hash(f"{document.id}\n{text}", self._config.measure.seed)
        example = {"source": source, "id": document.id, "text": text[:_EXCERPT]}
        for step, reason in verdicts.items():
            self.dropped[source, step, reason] += 1
            if len(verdicts) == 1:
                self.dropped[source, step, ""] += 1  # that no other step wants
            self._show(step, 0.0, draw, {**example, "reason": reason})
        for one in THRESHOLDS:
            measured = (metadata.get("measured") or {}).get(one.name)
            if measured is None or (one.kind is not None and one.kind.name != metadata["kind"]):
                continue
            self._cost(one, source, len(text), {v: one.drops(measured, v) for v in one.looked_at(self._config)})
            self._show_border(one, measured, draw, example)
        self._cost(NEAR, source, len(text), near)

    def _cost(self, one: Threshold, source: str, characters: int, goes: dict[float, bool]) -> None:
        for value, does in goes.items():
            if does:
                self.costs[one.name, source, f"{value:g}", "documents"] += 1
                self.costs[one.name, source, f"{value:g}", "characters"] += characters

    def _show_border(self, one: Threshold, measured: float, draw: int, example: Example) -> None:
        """The documents that are nearest to a threshold, on either side of it."""
        present = one.of(self._config)
        side = "goes" if one.drops(measured, present) else "stays"
        if side == "goes" or measured:
            self._show(f"{one.name} {side}", abs(measured - present), draw, {**example, "measured": measured})

    def _show(self, name: str, distance: float, draw: int, example: Example) -> None:
        kept = self.examples[name]
        kept.append((round(distance, 6), draw, example))
        if len(kept) > 4 * self._most + 64:
            self.examples[name] = self._nearest(kept)

    def _nearest(self, kept: list[tuple[float, int, Example]]) -> list[tuple[float, int, Example]]:
        """Of equal texts one."""
        distinct = {(distance, draw): (distance, draw, example) for distance, draw, example in kept}
        return heapq.nsmallest(self._most, distinct.values(), key=lambda one: one[:2])

    def content(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "documents": self.documents,
            "characters": self.characters,
            "dropped": [[*names, count] for names, count in sorted(self.dropped.items())],
            "costs": [[*names, count] for names, count in sorted(self.costs.items())],
            "examples": {name: self._nearest(kept) for name, kept in sorted(self.examples.items())},
        }

    def take_in(self, content: dict[str, Any]) -> None:
        """Adds what another one's `content` says."""
        self.documents.update(content["documents"])
        self.characters.update(content["characters"])
        for *names, count in content["dropped"]:
            self.dropped[tuple(names)] += count
        for *names, count in content["costs"]:
            self.costs[tuple(names)] += count
        for name, kept in content["examples"].items():
            for distance, draw, example in kept:
                self._show(name, distance, draw, example)


class Sample(PipelineStep):
    """Lets a fraction of the documents pass, chosen by a hash of their text."""

    type = "📏 - MEASURE"
    name = "sample"

    def __init__(self, fraction: float, seed: int) -> None:
        super().__init__()
        self.fraction = fraction
        self.seed = seed

    def run(self, data: Iterator[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yields those that are chosen."""
        limit = self.fraction * (1 << 64)
        for document in data or ():
            if form_hash(document.text, self.seed) < limit:
                yield document


class Measure(PipelineStep):
    """Tallies the documents of a task, behind a `DocumentReader`, and writes NNNNN.json."""

    type = "📏 - MEASURE"
    name = "measure"

    def __init__(
        self, config: CurateConfig, exact: Path | None, near: dict[float, Path], folder: Path, present: float
    ) -> None:
        """Prepares to count.

        Args:
            config: The configuration.
            exact: Lists of exact duplicates, where they are looked for.
            near: Lists of near duplicates, by `minhash.min_jaccard`.
            folder: Where the files go.
            present: `minhash.min_jaccard`.
        """
        super().__init__()
        self.config = config
        self.exact = exact
        self.near = near
        self.folder = folder
        self.present = present

    def run(self, data: Iterator[Document] | None, rank: int = 0, world_size: int = 1) -> None:
        """Writes what was counted."""
        exact = set() if self.exact is None else set(listed_numbers(self.exact, rank).tolist())
        near = {value: set(listed_numbers(folder, rank).tolist()) for value, folder in self.near.items()}
        tally = Tally(self.config)
        for document in data or ():
            place = document.metadata["index"]
            verdicts = document.metadata.setdefault("verdicts", {})
            if place in exact:
                verdicts["exact"] = "same text as an earlier one"
            elif place in near.get(self.present, ()):
                verdicts["near"] = "nearly the same as one that stays"
            tally.add(document, {value: place in found for value, found in near.items()})
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / f"{rank:05d}.json", tally.content())


def gather_tally(config: CurateConfig, folder: Path) -> Tally:
    """The sum of what all tasks counted."""
    total = Tally(config)
    for path in sorted(folder.glob("*.json")):
        total.take_in(json.loads(path.read_text(encoding="utf-8")))
    return total
