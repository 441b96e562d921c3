"""Values, group means, differences, and the tables made of them."""

import io
import json
from typing import Any

import numpy as np
import pytest

from megatron_redone.config.evaluate import BootstrapConfig
from megatron_redone.evaluation.comparison import EvaluatedSource, MetricValue, compute_metrics
from megatron_redone.evaluation.metric_definitions import Kind
from megatron_redone.evaluation.tables import sections, to_markdown, to_terminal

CONFIG = BootstrapConfig(resamples=400, seed=5)


def _texts(name: str, side: str, count: int, bits: dict[str, float], seed: int = 0) -> EvaluatedSource:
    random = np.random.default_rng(seed)
    sizes = random.integers(50, 500, count).tolist()
    noise = random.normal(1, 0.1, count).tolist()
    results = {
        model: [{"bytes": n, "bits": per_byte * n * factor} for n, factor in zip(sizes, noise, strict=True)]
        for model, per_byte in bits.items()
    }
    return EvaluatedSource(kind=Kind.held_out, name=name, side=side, results=results)


SOURCES = [
    _texts("tweets", "social", 40, {"base": 2.0, "ours": 1.8}),
    _texts("posts", "social", 400, {"base": 1.0, "ours": 0.9}, seed=1),
    _texts("wiki", "general", 30, {"base": 1.0, "ours": 1.0}, seed=2),
    EvaluatedSource(
        kind=Kind.preferences, name="pairs", side="",
        results={model: [{"chosen": -10.0, "rejected": other, "chosen_tokens": 5, "rejected_tokens": 5}
                         for other in others] for model, others in
                 {"base": [-9.0, -11.0] * 10, "ours": [-11.0] * 20}.items()},
    ),
    EvaluatedSource(
        kind=Kind.conversations, name="tags", side="information_extraction",
        results={model: [{"exact": 1.0, "f1": 1.0}, {"exact": 0.0, "f1": 0.5}] * 5 for model in ("base", "ours")},
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def metrics() -> dict[tuple[str, str | None, str], MetricValue]:
    found = compute_metrics(SOURCES, "base", CONFIG)
    return {(f.model, f.source or f.side, f.metric.name): f for f in found}


@pytest.fixture
def evaluation(metrics: dict[Any, MetricValue]) -> dict[str, Any]:
    content = {
        "base": "base",
        "models": [{"name": "base"}, {"name": "ours"}],
        "metrics": [value.as_record() for value in metrics.values()],
        "config": {"bootstrap": {"resamples": 400, "confidence": 0.95}},
    }
    return json.loads(json.dumps(content))


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


def test_tables_put_models_side_by_side_and_say_what_improved(evaluation: dict[str, Any]) -> None:
    social, general, preferences, answers = sections(evaluation)
    assert [row.title for row in social.rows] == ["tweets", "posts", "mean of 2 sources"]
    assert [row.is_mean for row in social.rows] == [False, False, True]
    assert [row.title for row in general.rows] == ["wiki"], "the mean of one source is itself"
    assert [cell.improved for cell in social.rows[0].cells] == [None, True], "fewer bits are better"
    assert [cell.improved for cell in general.rows[0].cells] == [None, None]
    pairs = preferences.rows[0].cells[1]
    assert (pairs.value, pairs.change, pairs.improved) == ("100.0 %", "+50.0", True)
    assert answers.rows[1].detail == "information extraction, F1 of items"


def test_markdown_and_terminal_hold_every_value(evaluation: dict[str, Any]) -> None:
    from rich.console import Console

    markdown = to_markdown(evaluation)
    console = Console(width=200, file=io.StringIO())
    for part in to_terminal(evaluation):
        console.print(part)
    terminal = console.file.getvalue()  # type: ignore[attr-defined]
    for section in sections(evaluation):
        for row in section.rows:
            assert row.title in markdown and row.title in terminal
            for cell in row.cells:
                for text in (cell.value, cell.bounds, cell.change, cell.change_bounds):
                    assert text in markdown and text in terminal
    assert "**−0.2" in markdown and "95 % bootstrap intervals" in markdown
