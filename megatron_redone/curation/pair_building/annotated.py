"""Pairs from people's labels, and how far these people agree."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from megatron_redone.config.build_preferences import AnnotatedConfig, LabelKind
from megatron_redone.curation.pair_building.agreement import measure_agreement
from megatron_redone.curation.pair_building.labelled_records import (
    NoPair,
    Pair,
    Record,
    Records,
    no_pair,
    read_source,
    responses_of,
)
from megatron_redone.curation.pair_building.labels import Label, categories, read_labels
from megatron_redone.curation.pair_building.result import Result, collect
from megatron_redone.errors import UserError
from megatron_redone.formats.input_records import InvalidRecordError

# Sums of votes and ratings are compared with thresholds that people write as 0.33.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Labelled:
    """A record with its responses and the label of every annotator, None of one who gave none."""

    record: Record
    responses: list[str]
    labels: list[Label | None]

    def leads(self, first: int, second: int) -> list[float]:
        """What each annotator who compared two responses said; see `Label.lead`."""
        leads = (label.lead(first, second) for label in self.labels if label is not None)
        return [lead for lead in leads if lead is not None]


@dataclass(frozen=True)
class LabelledRecords:
    """The records of an `annotated` entry: those with labels, in order, and the others."""

    records: Records
    good: list[Labelled]
    unusable: list[NoPair]


def read_labelled(config: AnnotatedConfig) -> LabelledRecords:
    """Reads the records that people labelled.

    Raises:
        UserError: as `read_source`; also where no record has an annotator's key.
    """
    records = read_source(config.source)
    for key in config.labels.annotators:
        if not any(key in record.fields for record in records.good):
            raise UserError(f"{config.name}: labels.annotators: no record has the key '{key}'")
    good: list[Labelled] = []
    unusable: list[NoPair] = []
    for record in records.good:
        try:
            responses = responses_of(record, config.responses)
            labels = read_labels(record, config.labels, len(responses))
        except InvalidRecordError as reason:
            unusable.append(no_pair(record, reason))
            continue
        if any(label is not None for label in labels):
            good.append(Labelled(record, responses, labels))
        else:
            unusable.append(no_pair(record, "no annotator labelled it"))
    return LabelledRecords(records, good, unusable)


def build_annotated(config: AnnotatedConfig) -> Result:
    """The pairs of which enough annotators say, clearly enough, which response is better.

    The rewards of a pair are mean ratings, or the share of the annotators who preferred each response.

    Raises:
        UserError: see `read_labelled`.
    """
    labelled = read_labelled(config)
    agreement = measure_agreement(
        config.labels.annotators, [item for entry in labelled.good for item in categories(entry.labels)]
    )
    outcomes: list[Pair | NoPair] = [*labelled.unusable]
    for entry in labelled.good:
        outcomes += _pairs(config, entry)
    metrics = {"agreement": dataclasses.asdict(agreement)} if agreement is not None else {}
    return collect(labelled.records, outcomes, metrics)


def _pairs(config: AnnotatedConfig, entry: Labelled) -> Iterator[Pair | NoPair]:
    for first, second in combinations(range(len(entry.responses)), 2):
        leads = entry.leads(first, second)
        reason = _objection(config, entry, leads, first, second)
        if reason is not None:
            yield no_pair(entry.record, reason)
        else:
            better, worse = (first, second) if sum(leads) > 0 else (second, first)
            yield _pair(config, entry, leads, better, worse)


def _objection(config: AnnotatedConfig, entry: Labelled, leads: list[float], first: int, second: int) -> str | None:
    if entry.responses[first].strip() == entry.responses[second].strip():
        return "both responses are the same"
    if len(leads) < config.min_annotators:
        return "compared by fewer than min_annotators"
    margin = abs(sum(leads)) / max(len(leads), 1)
    if margin < _ROUNDING:
        return "a tie"
    return "lead below min_margin" if margin < config.min_margin - _ROUNDING else None


def _pair(config: AnnotatedConfig, entry: Labelled, leads: list[float], better: int, worse: int) -> Pair:
    annotators = [label for label in entry.labels if label is not None and label.lead(better, worse) is not None]
    if config.labels.kind is LabelKind.rating:
        rewards = [sum(label.scores[i] for label in annotators) / len(annotators) for i in (better, worse)]
    else:
        wins = sum(label.lead(better, worse) == 1 for label in annotators)
        losses = sum(label.lead(better, worse) == -1 for label in annotators)
        rewards = [wins / len(annotators), losses / len(annotators)]
    return Pair(
        record=entry.record,
        chosen=entry.responses[better],
        rejected=entry.responses[worse],
        chosen_reward=rewards[0],
        rejected_reward=rewards[1],
        provenance={
            "responses": [better + 1, worse + 1],
            "labels": {name: entry.record.fields.get(name) for name in config.labels.annotators},
            "margin": abs(sum(leads)) / len(leads),
        },
    )
