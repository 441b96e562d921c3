"""Official scores equal a second implementation of the benchmark's code, defects included."""

import pytest

from megatron_redone.evaluation.sns_bench.official import OFFICIAL
from tests.helpers.shared_data import needs_shared_data
from tests.helpers.sns_bench_predictions import SUBSETS, VARIANTS, gold, records
from tests.helpers.sns_bench_reference import reference_score


def official(subset: str, predictions: list[str], golds: list[object]) -> float:
    scorer = OFFICIAL[subset]
    return 100 * scorer.score([scorer.count(p, g) for p, g in zip(predictions, golds, strict=True)])


@pytest.mark.slow
@needs_shared_data
@pytest.mark.parametrize("subset", SUBSETS)
def test_scores_equal_a_second_implementation(subset: str) -> None:
    everything = records(subset)
    scores = {}
    for name, variant in VARIANTS.items():
        # Likeness of whole passages is slow: every record for gold and shuffled answers, some for each noise.
        found = everything[:10] if subset == "MRC-simple" and name not in ("gold", "shuffled") else everything
        golds = [record["answer"] for record in found]
        predictions = [prediction[:300] if subset == "QueryGen" else prediction for prediction in variant(found)]
        scores[name] = official(subset, predictions, golds)
        assert scores[name] == pytest.approx(reference_score(subset, predictions, golds), abs=5e-5), name
    assert len({round(score, 4) for score in scores.values()}) > 3


@needs_shared_data
@pytest.mark.parametrize(
    ("subset", "score"),
    [
        ("Taxonomy-single", 118 / 121),
        ("Taxonomy-multiple", 75 / 80),
        ("Hashtag-single", 74 / 80),
        ("MRC-simple", 0.975),
    ],
)
def test_gold_answers_do_not_score_100(subset: str, score: float) -> None:
    """Labels that hold "end" are cut, and lists whose strings hold brackets do not parse."""
    found = records(subset)
    assert official(subset, [gold(r) for r in found], [r["answer"] for r in found]) == pytest.approx(
        100 * score, abs=1e-3
    )


@needs_shared_data
def test_an_empty_list_everywhere_is_a_good_score() -> None:
    found = records("CHLW")
    empty = sum(record["answer"] == "[]" for record in found)
    assert empty == 21
    assert official("CHLW", ["[]"] * 30, [r["answer"] for r in found]) == pytest.approx(100 * 42 / 63, abs=1e-2)


def by_hand(subset: str, prediction: str, gold: object) -> dict[str, float]:
    return OFFICIAL[subset].count(prediction, gold)


def test_by_hand() -> None:
    assert by_hand("Taxonomy-single", "Trends", "Trends")["right"] == 0
    assert by_hand("Hashtag-single", "Answer: Lolita, surely", "Lolita")["right"] == 1
    assert by_hand("Taxonomy-multiple", "Food|the Display", "Food| Display")["right"] == 0
    assert by_hand("Taxonomy-multiple", "Food | the Display", "Food | Display")["right"] == 1
    assert by_hand("Gender", "Yes. It is", "Yes")["right"] == 1
    assert by_hand("Gender", "yes", "Yes")["right"] == 0
    assert by_hand("QueryCorr-topic", "10", "1")["hits1"] == 1
    assert by_hand("NER", "White, Red\nBlue", "Red,Blue") == {"items": 1, "parsed": 1, "hits": 1, "found": 2, "gold": 2}
    assert by_hand("CHLW", "[list]", "['x']") == {"items": 1, "parsed": 1, "hits": 0, "found": 1, "gold": 1}
    assert by_hand("CHLW", "[nothing_of_this_name]", "['x']")["parsed"] == 0


def test_what_a_model_wrote_is_not_run(tmp_path: object) -> None:
    file = f"{tmp_path}/written"
    for subset in ("CHLW", "MRC-simple"):
        assert (
            by_hand(subset, f"[open('{file}', 'w').write('x')]", ["x"] if subset == "MRC-simple" else "['x']")["parsed"]
            == 0
        )
    with pytest.raises(FileNotFoundError):
        open(file)


@needs_shared_data
def test_scores_of_resampled_sums() -> None:
    """Sums of many draws at once give what each draw gives alone."""
    import numpy as np

    found = records("QueryCorr-topic")
    scorer = OFFICIAL["QueryCorr-topic"]
    counts = [scorer.count(p, r["answer"]) for p, r in zip(VARIANTS["some"](found), found, strict=True)]
    draws = np.random.default_rng(1).integers(0, len(counts), (5, len(counts)))
    table = {name: np.array([count[name] for count in counts]) for name in scorer.names}
    together = scorer.combine({name: values[draws].sum(1) for name, values in table.items()})
    alone = [scorer.score([counts[i] for i in draw]) for draw in draws]
    assert together == pytest.approx(alone, abs=1e-12)
