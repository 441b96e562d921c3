"""How far work is, on a terminal or in the log."""

import logging

import pytest

from megatron_redone.processes import live_progress
from megatron_redone.processes.live_progress import LiveProgress, corpus_progress


def test_without_a_terminal_it_logs_by_itself(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(live_progress, "_LOG_EVERY_S", 0.0)
    monkeypatch.setattr(live_progress, "_LOOK_EVERY_S", 0.01)
    done = [0]
    with LiveProgress(8, lambda: (done[0], f"{done[0]} of 8 tasks"), "pass 1"):
        done[0] = 2
        while " 25 %" not in caplog.text:
            pass
        done[0] = 8
    assert "pass 1" in caplog.text and "2 of 8 tasks" in caplog.text and "100 %  8 of 8 tasks  0 s left" in caplog.text


def test_a_corpus_shows_bytes_and_tokens(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(live_progress, "_LOG_EVERY_S", 0.0)
    corpus_progress(4_000_000, [1_000_000, 10, 2_000_000]).show()
    assert " 25 %  1 of 4 MB" in caplog.text and "2.0 M tokens" in caplog.text


def test_nothing_to_do_is_no_division_by_zero() -> None:
    with corpus_progress(0, [0, 0, 0]) as progress:
        progress.show()
