"""Posts with impressions, labels of harm and scores of several models; docs/records.md has the form of the records."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from megatron_redone.evaluation.exposure import LabelledPosts
from megatron_redone.evaluation.record_fields import field, mapping, number, positive_probability, read_all, truth
from megatron_redone.formats.input_records import InvalidRecord, InvalidRecordError
from megatron_redone.formats.inputs import InputFile


@dataclass(frozen=True, kw_only=True)
class ExposureLog:
    """Labelled posts.

    Attributes:
        posts: Impressions, labels and how many posts each stands for.
        scores: Of every model, float64 [N]; higher is more harmful.
        records: How many there are, with the invalid ones.
        invalid: The ones that cannot be used.
    """

    posts: LabelledPosts
    scores: dict[str, np.ndarray]
    records: int
    invalid: list[InvalidRecord]


@dataclass(frozen=True)
class _Post:
    impressions: float
    harmful: bool
    sample_weight: float
    scores: dict[str, float]


def read_exposure_log(files: list[InputFile]) -> ExposureLog:
    """Reads posts. The models of the first valid record have a score in every one.

    Raises:
        UserError: a file is damaged.
    """
    models: list[str] = []

    def parse(record: Mapping[str, Any]) -> _Post:
        post = _post(record)
        models[:] = models or sorted(post.scores)
        if sorted(post.scores) != models:
            raise InvalidRecordError("'scores' has other models than in the first valid record")
        return post

    posts, invalid = read_all(files, parse)
    return ExposureLog(
        posts=LabelledPosts(
            impressions=np.array([post.impressions for post in posts], float),
            harmful=np.array([post.harmful for post in posts], bool),
            sample_weights=np.array([post.sample_weight for post in posts], float),
        ),
        scores={model: np.array([post.scores[model] for post in posts]) for model in models},
        records=len(posts) + len(invalid),
        invalid=invalid,
    )


def _post(record: Mapping[str, Any]) -> _Post:
    impressions = number(field(record, "impressions"), "impressions")
    if impressions < 0:
        raise InvalidRecordError("'impressions' is less than 0")
    chosen = record.get("label_probability")
    scores = mapping(field(record, "scores"), "scores")
    return _Post(
        impressions,
        truth(field(record, "harmful"), "harmful"),
        1.0 if chosen is None else 1.0 / positive_probability(chosen, "label_probability"),
        {name: number(value, "scores") for name, value in scores.items()},
    )
