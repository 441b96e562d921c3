"""Kappas against scikit-learn's and statsmodels', on random labels and on three real annotators."""

import json
import random
from pathlib import Path

import pytest

from megatron_redone.curation.pair_building.agreement import cohen_kappa, fleiss_kappa, measure_agreement
from tests.helpers import shared_data

metrics = pytest.importorskip("sklearn.metrics")
inter_rater = pytest.importorskip("statsmodels.stats.inter_rater")


def fleiss_by_statsmodels(items: list[list[int]]) -> float:
    return inter_rater.fleiss_kappa(inter_rater.aggregate_raters(items)[0])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("categories", [2, 4])
def test_equal_to_the_libraries(seed: int, categories: int) -> None:
    draw = random.Random(seed)
    items = [[draw.choice([truth, draw.randrange(categories)]) for _ in range(4)] for truth in [0, 1] * 40]
    first, second, *_ = (list(column) for column in zip(*items, strict=True))
    assert cohen_kappa(first, second) == pytest.approx(metrics.cohen_kappa_score(first, second), abs=1e-12)
    assert fleiss_kappa(items) == pytest.approx(fleiss_by_statsmodels(items), abs=1e-12)


@shared_data.needs_shared_data
def test_three_real_annotators() -> None:
    records = json.loads((Path(shared_data.FOLDER) / "dpo/pandalm_a.json").read_text())
    names = ["annotator1", "annotator2", "annotator3"]
    items = [[record[name] for name in names] for record in records]
    found = measure_agreement(names, items)
    assert found is not None and found.statistic == "fleiss_kappa" and found.items == len(records)
    assert found.kappa == pytest.approx(fleiss_by_statsmodels(items), abs=1e-12)
    columns = list(zip(*items, strict=True))
    expected = metrics.cohen_kappa_score(columns[0], columns[2])
    assert found.pairwise["annotator1/annotator3"] == pytest.approx(expected, abs=1e-12)
    two = measure_agreement(names[:2], [labels[:2] for labels in items])
    assert two is not None and two.statistic == "cohen_kappa"
    assert two.kappa == pytest.approx(metrics.cohen_kappa_score(columns[0], columns[1]), abs=1e-12)


def test_missing_labels_leave_an_item_out_of_kappa_but_not_of_the_pairs_that_have_it() -> None:
    items = [[1, 1, 1], [1, 2, 1], [2, 2, None], [2, 2, 2], [1, None, 2]]
    found = measure_agreement(["a", "b", "c"], items)
    assert found is not None and found.items == 3
    assert found.kappa == pytest.approx(fleiss_by_statsmodels([[1, 1, 1], [1, 2, 1], [2, 2, 2]]))
    assert found.pairwise["a/b"] == pytest.approx(metrics.cohen_kappa_score([1, 1, 2, 2], [1, 2, 2, 2]))


def test_agreement_that_chance_would_give_is_undefined() -> None:
    assert cohen_kappa([1, 1], [1, 1]) is None and fleiss_kappa([[1, 1], [1, 1]]) is None
    assert cohen_kappa([], []) is None and fleiss_kappa([]) is None
    assert measure_agreement(["alone"], [[1]]) is None
