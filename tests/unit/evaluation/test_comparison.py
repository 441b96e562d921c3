"""Values, group means and differences."""

from typing import Any

import numpy as np
import pytest

from megatron_redone.config.evaluate import BootstrapConfig
from megatron_redone.evaluation.comparison import MetricValue, compute_metrics, estimate_rows
from tests.helpers.evaluated_sources import SOURCES

CONFIG = BootstrapConfig(resamples=400, seed=5)


@pytest.fixture(scope="module")
def metrics() -> dict[tuple[str, str | None, str], MetricValue]:
    found = compute_metrics(estimate_rows(SOURCES, CONFIG), "base", CONFIG)
    return {(f.model, f.source or f.side, f.metric.name): f for f in found}


def test_values_are_ratios_over_all_examples(metrics: dict[Any, MetricValue]) -> None:
    texts = SOURCES[0].results["base"]
    expected = sum(t["bits"] for t in texts) / sum(t["bytes"] for t in texts)
    assert metrics["base", "tweets", "bits_per_byte"].interval.value == pytest.approx(expected)
    assert metrics["base", "pairs", "preference_accuracy"].interval.value == 0.5
    assert metrics["ours", "tags", "item_f1"].interval.value == 0.75
    assert metrics["ours", "tags", "exact_match"].examples == 10


def test_a_group_counts_its_sources_alike_and_its_interval_is_that_of_independent_ones(
    metrics: dict[Any, MetricValue],
) -> None:
    tweets, posts = (metrics["base", name, "bits_per_byte"].interval for name in ("tweets", "posts"))
    mean = metrics["base", "social", "bits_per_byte"]
    assert mean.interval.value == pytest.approx((tweets.value + posts.value) / 2) and mean.examples == 440
    widths = [(part.high - part.low) / 2 for part in (tweets, posts)]
    # Independent sources: variances add up (the tolerance is the noise of 400 resamples).
    assert mean.interval.high - mean.interval.low == pytest.approx(np.hypot(*widths), rel=0.15)


def test_differences_are_paired(metrics: dict[Any, MetricValue]) -> None:
    ours = metrics["ours", "tweets", "bits_per_byte"]
    assert ours.difference is not None and metrics["base", "tweets", "bits_per_byte"].difference is None
    # Both models find the same texts hard: the difference is known far better than the metrics are.
    assert ours.difference.high - ours.difference.low < 0.2 * (ours.interval.high - ours.interval.low)
    assert ours.difference.high < 0
    wiki = metrics["ours", "wiki", "bits_per_byte"].difference
    assert wiki is not None and (wiki.low, wiki.value, wiki.high) == (0, 0, 0)
