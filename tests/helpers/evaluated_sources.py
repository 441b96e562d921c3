"""Results of two models on five small sources, as an evaluation has them."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from megatron_redone.config.evaluate import BootstrapConfig
from megatron_redone.evaluation.comparison import EvaluatedSource, compute_metrics, estimate_rows
from megatron_redone.evaluation.metric_definitions import Kind
from megatron_redone.evaluation.significance import compare_models


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


def answers(name: str, right: dict[str, list[int]], side: str = "social") -> EvaluatedSource:
    """Conversations, and which of them each model answers rightly: 1, or 0."""
    results = {model: [{"exact": float(one)} for one in ones] for model, ones in right.items()}
    return EvaluatedSource(kind=Kind.conversations, name=name, side=side, results=results)


def evaluation_content(base: str = "base", sources: Sequence[EvaluatedSource] = SOURCES) -> dict[str, Any]:
    """What evaluation.json says of the sources, as read from it."""
    config = BootstrapConfig(resamples=400, seed=5)
    rows = estimate_rows(sources, config)
    content = {
        "base": base,
        "models": [{"name": name} for name in sources[0].results],
        "metrics": [value.as_record() for value in compute_metrics(rows, base, config)],
        "comparisons": [comparison.as_record() for comparison in compare_models(rows, config.confidence)],
        "config": {"bootstrap": {"resamples": 400, "confidence": 0.95}},
    }
    return json.loads(json.dumps(content))
