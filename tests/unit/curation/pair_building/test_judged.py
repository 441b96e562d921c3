"""A judge is measured against people in both orders, and used only if it agrees with them."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from megatron_redone.config.build_preferences import AnnotatedConfig, JudgedConfig
from megatron_redone.curation.pair_building.judge_scores import judge_from_files
from megatron_redone.curation.pair_building.judged import JudgeRefused, build_judged, measure_judge
from megatron_redone.errors import UserError
from tests.helpers.preference_sources import entry, reasons, write_lines

metrics = pytest.importorskip("sklearn.metrics")

# What two people say of 40 pairs: 18 times the first, 18 times the second, 4 ties.
PEOPLE = [[1, 1]] * 18 + [[2, 2]] * 18 + [[1, 2]] * 4


def scores_file(path: Path, count: int, score: Callable[[int, int, int], float]) -> str:
    """Scores by (record, response, place at which it is shown)."""
    lines = [
        {"id": i, "order": list(order), "scores": [score(i, order[0], 0), score(i, order[1], 1)]}
        for i, order in itertools.product(range(count), [(1, 2), (2, 1)])
    ]
    return write_lines(path, lines)


def people(tmp_path: Path) -> Any:
    records = [
        {"id": i, "q": f"?{i}", "a": f"A{i}", "b": f"B{i}", "ann": x, "bo": y} for i, (x, y) in enumerate(PEOPLE)
    ]
    values = {
        "name": "people",
        "source": {"input": [write_lines(tmp_path / "people.jsonl", records)], "prompt": "{q}", "id_key": "id"},
        "responses": ["a", "b"],
        "labels": {"annotators": ["ann", "bo"]},
    }
    return entry(AnnotatedConfig, tmp_path, values)


def judged(tmp_path: Path, scores: str, **more: Any) -> Any:
    records = [{"id": i, "q": f"new {i}", "a": f"A{i}", "b": f"B{i}"} for i in range(len(PEOPLE))]
    values = {
        "name": "judge",
        "source": {"input": [write_lines(tmp_path / "new.jsonl", records)], "prompt": "{q}", "id_key": "id"},
        "responses": ["a", "b"],
        "human": "people",
        "scores": [scores],
        **more,
    }
    return entry(JudgedConfig, tmp_path, values)


def build(tmp_path: Path, scores: str, **more: Any) -> Any:
    judge = judge_from_files([scores])
    return build_judged(judged(tmp_path, scores, **more), people(tmp_path), judge, judge)


def like_people(record: int, response: int, _: int) -> float:
    """Agrees with the first annotator, but for every ninth record."""
    label = PEOPLE[record][0]
    return float((label == response) != (record % 9 == 0)) * 3 + 4


def test_agreement_is_that_of_scikit_learn(tmp_path: Path) -> None:
    scores = scores_file(tmp_path / "scores.jsonl", len(PEOPLE), like_people)
    found = measure_judge(judge_from_files([scores]), people(tmp_path))
    majority = [1] * 18 + [-1] * 18 + [0] * 4
    verdicts = [(1 if label == 1 else -1) * (-1 if i % 9 == 0 else 1) for i, (label, _) in enumerate(PEOPLE)]
    assert found.kappa == pytest.approx(metrics.cohen_kappa_score(verdicts, majority), abs=1e-12)
    assert found.accuracy == pytest.approx(metrics.accuracy_score(majority[:36], verdicts[:36]))
    assert (found.consistent, found.first_preferred, found.pairs, found.unanswered) == (1, 0.5, 40, {})


def test_an_accepted_judge_makes_pairs(tmp_path: Path) -> None:
    scores = scores_file(tmp_path / "scores.jsonl", len(PEOPLE), like_people)
    result = build(tmp_path, scores)
    assert len(result.pairs) == len(PEOPLE) and not result.no_pairs
    pair = result.pairs[1]
    assert (pair.chosen, pair.rejected, pair.chosen_reward, pair.rejected_reward) == ("A1", "B1", 7, 4)
    assert pair.provenance["scores"] == {"as_listed": [7, 4], "swapped": [7, 4]}
    assert result.metrics["agreement"]["pairs"] == 40


@pytest.mark.parametrize(
    "score",
    [
        lambda record, response, place: float(response == 1),
        lambda record, response, place: float(place == 0),
        lambda record, response, place: 5.0,
    ],
    ids=["always the same response", "always what is shown first", "always a tie"],
)
def test_a_judge_without_judgement_is_refused(tmp_path: Path, score: Any) -> None:
    scores = scores_file(tmp_path / "scores.jsonl", len(PEOPLE), score)
    with pytest.raises(JudgeRefused, match=r"its kappa with 'people' is 0\.000 over 40 pairs"):
        build(tmp_path, scores)


def test_the_threshold_is_the_users(tmp_path: Path) -> None:
    scores = scores_file(tmp_path / "scores.jsonl", len(PEOPLE), like_people)
    kappa = measure_judge(judge_from_files([scores]), people(tmp_path)).kappa
    assert kappa is not None and len(build(tmp_path, scores, min_agreement=kappa).pairs) == 40
    with pytest.raises(JudgeRefused):
        build(tmp_path, scores, min_agreement=kappa + 0.001)


def test_an_order_that_decides_is_a_tie(tmp_path: Path) -> None:
    def score(record: int, response: int, place: int) -> float:
        return float(place == 0) if record < 4 else like_people(record, response, place)

    scores = scores_file(tmp_path / "scores.jsonl", len(PEOPLE), score)
    found = measure_judge(judge_from_files([scores]), people(tmp_path))
    assert found.consistent == pytest.approx(36 / 40)
    assert found.first_preferred == pytest.approx((36 + 8) / 80)
    result = build(tmp_path, scores, min_agreement=0.4)
    assert reasons(result) == {"the judge's preference depends on the order": 4}


def test_what_the_judge_does_not_answer_is_counted(tmp_path: Path) -> None:
    scores = scores_file(tmp_path / "scores.jsonl", 35, like_people)
    result = build(tmp_path, scores, min_agreement=0.5)
    missing = {"no scores of the judge in this order": 5}
    assert result.metrics["agreement"]["unanswered"] == missing and reasons(result) == missing
    with pytest.raises(JudgeRefused, match="measured on 35 pairs only, min_measured=36"):
        build(tmp_path, scores, min_measured=36)


def test_margins(tmp_path: Path) -> None:
    scores = scores_file(tmp_path / "scores.jsonl", len(PEOPLE), like_people)
    assert len(build(tmp_path, scores, min_margin=3).pairs) == 40
    assert reasons(build(tmp_path, scores, min_margin=3.1)) == {"lead below min_margin": 40}


def test_scores_of_another_form_are_an_error(tmp_path: Path) -> None:
    for line in ('{"id": 1, "order": [1, 2], "scores": [1]}', '{"id": 1, "scores": [1, 2]}', "nonsense"):
        with pytest.raises(UserError, match=r"scores.jsonl:1: not of the form"):
            judge_from_files([write_lines(tmp_path / "scores.jsonl", [line])])
    twice = [{"id": 1, "order": [1, 2], "scores": [1, 2]}, {"id": 1, "order": [1, 2], "scores": [2, 2]}]
    with pytest.raises(UserError, match="other scores for record '1' stand before"):
        judge_from_files([write_lines(tmp_path / "scores.jsonl", twice)])
    foreign = [{"id": "x", "order": [1, 2], "scores": [1, 2]}]
    with pytest.raises(UserError, match="answers none of the 40 pairs"):
        build(tmp_path, write_lines(tmp_path / "scores.jsonl", foreign))
