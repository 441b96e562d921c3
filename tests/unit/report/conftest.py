"""A run as a training leaves it."""

from pathlib import Path

import pytest

from megatron_redone.metrics.trackers import JsonlTracker


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """Written by the tracker itself, killed in the middle of a line."""
    tracker = JsonlTracker(tmp_path / "cpt" / "metrics.jsonl")
    tracker.log(0, {"validation/a/b/loss": 4.0, "validation/a/b/perplexity": 54.6})
    for step in (2, 4, 6):
        tracker.log(step, {"loss": 4.0 - step / 4, "seconds_per_step": 0.5, "consumed_tokens": 100.0 * step,
                           "accuracy": 0.5, "epochs/a": 0.1})  # fmt: skip
    tracker.log(6, {"loss": float("nan"), "validation/a/b/loss": 3.0})
    tracker.close()
    with open(tmp_path / "cpt" / "metrics.jsonl", "a") as stream:
        stream.write('{"step": 8, "lo')
    (tmp_path / "cpt" / "config.yaml").write_text("init_from: base\ndata: {seq_length: 8}\n")
    return tmp_path / "cpt"
