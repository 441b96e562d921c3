"""What a perturbation costs: over the same items, resampled alike."""

import numpy as np
import pytest

from megatron_redone.config.evaluate import BootstrapConfig
from megatron_redone.evaluation.comparison import EvaluatedSource, estimate_rows
from megatron_redone.evaluation.folded_rows import fold_benchmarks
from megatron_redone.evaluation.metric_definitions import Kind, Metric
from megatron_redone.evaluation.perturbed_rows import lost_rows

RIGHT = Metric(name="right", title="right", top=lambda result: result["right"])


def source(path: str, right: np.ndarray) -> EvaluatedSource:
    return EvaluatedSource(
        kind=Kind.benchmarks,
        name=f"harm {path}",
        side="harm",
        results={"base": [{"right": float(one)} for one in right]},
        metrics=[RIGHT],
        path=path,
        variant_of="plain",
    )


def test_the_loss_is_that_of_paired_items() -> None:
    random = np.random.default_rng(0)
    plain = random.random(400) < 0.8
    spaces = plain & (random.random(400) < 0.9)
    rows = estimate_rows([source("plain", plain), source("spaces", spaces), source("emoji", plain)], BootstrapConfig())
    by_path = {row.path: row for row in lost_rows(rows)}
    assert by_path.keys() == {"spaces", "emoji"}
    lost = by_path["spaces"]
    assert (lost.metric.name, lost.metric.higher_is_better) == ("right_lost", False)
    assert lost.estimates["base"].value == pytest.approx(plain.mean() - spaces.mean())
    deviation = np.std(plain.astype(float) - spaces) / np.sqrt(400)
    assert np.std(lost.estimates["base"].distribution) == pytest.approx(deviation, rel=0.1)
    assert not by_path["emoji"].estimates["base"].distribution.any(), "the same answers on the same items: nothing lost"


def test_perturbed_subsets_count_in_no_mean() -> None:
    rows = estimate_rows([source("plain", np.ones(9)), source("spaces", np.zeros(9))], BootstrapConfig(resamples=100))
    assert [row.path for row in rows if row.in_mean] == ["plain"] and [*fold_benchmarks(rows)] == []
