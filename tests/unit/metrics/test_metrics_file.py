"""metrics.jsonl, read."""

from megatron_redone.metrics.metrics_file import recorded_metrics


def test_figures_are_read_and_what_is_no_record_is_passed_over() -> None:
    lines = [b'{"step": 1, "loss": 2.5, "name": "x"}\n', b"[]\n", b'{"loss": 1}\n', b'{"step": 2, "lo']
    assert list(recorded_metrics(lines)) == [(1, {"step": 1, "loss": 2.5})]
