"""What a report gathers from runs, funnels and datasets."""

import json
from pathlib import Path

import numpy as np
import pytest

from megatron_redone.config.report import ReportConfig
from megatron_redone.curation.counting import Amount
from megatron_redone.curation.funnel import Row, funnel_json
from megatron_redone.metrics.trackers import JsonlTracker
from megatron_redone.report.content import gather, short_names
from megatron_redone.report.funnel_view import read_funnel
from megatron_redone.report.run_history import read_run
from megatron_redone.report.views import run_view


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


def test_a_run_is_read_as_the_tracker_wrote_it(run_folder: Path) -> None:
    run = read_run(run_folder, "cpt")
    assert run.train["loss"].steps == [2, 4, 6] and run.train["loss"].last == 2.5
    assert run.validation["a/b"]["loss"].values == [4.0, 3.0]
    assert (run.steps, run.tokens, run.seconds, run.kind) == (6, 600, 3.0, "continued pretraining")


def test_preferences_are_drawn_from_the_first_step_on(tmp_path: Path) -> None:
    """At step 0 policy and reference are one model, and an accuracy of zero would mislead."""
    tracker = JsonlTracker(tmp_path / "metrics.jsonl")
    tracker.log(0, {"validation/pairs/accuracy": 0.0, "validation/pairs/loss": 0.693})
    for step in (1, 2):
        tracker.log(step, {"loss": 0.6, "accuracy": 0.5, "margin": 0.1, "reward_chosen": 0.2, "reward_rejected": 0.1,
                           "validation/pairs/accuracy": 0.75, "validation/pairs/loss": 0.6})  # fmt: skip
    tracker.close()
    view = run_view(read_run(tmp_path, "dpo"))
    assert [chart.title for chart in view.preferences] == ["Preference accuracy", "Reward margin", "Rewards"]
    validation = next(line for line in view.preferences[0].legend if line.label == "validation: pairs")
    assert (validation.series.steps, validation.series.values) == ([1, 2], [0.75, 0.75])
    assert ("pairs accuracy", "75.0 %") in view.facts and view.losses is not None and not view.beside


def test_what_is_missing_becomes_a_note(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "metrics.jsonl").touch()
    config = ReportConfig(
        output="x",
        runs=[str(run_folder), str(tmp_path / "none"), str(tmp_path / "empty")],
        funnel=str(tmp_path / "other.json"),
        evaluation=str(tmp_path / "broken.json"),
    )
    content = gather(config)
    assert [run.name for run in content.runs] == ["cpt"] and content.evaluation is None and not content.funnels
    notes = "\n".join(content.notes)
    for part in ("none: metrics.jsonl cannot be read (No such file", "empty: metrics.jsonl holds no figures yet",
                 "other.json is no funnel", "broken.json is not readable as JSON"):  # fmt: skip
        assert part in notes
    assert len(content.notes) == 4


def test_runs_are_told_apart_by_as_much_of_their_path_as_it_takes() -> None:
    assert short_names(["a/cpt/run", "a/sft/run", "b/dpo"]) == ["cpt/run", "sft/run", "dpo"]
    assert short_names(["runs/cpt"]) == ["cpt"]


def test_a_funnel_of_curate_is_read_and_summed() -> None:
    def row(step: str, source: str, entered: int, left: int, held: int = 0) -> Row:
        gone = entered - left - held
        return Row(step, source, Amount(entered, 0, 10 * entered, 3 * entered), Amount(gone, 0, 10 * gone, 3 * gone), 0,
                   Amount(held, 0, 10 * held, 3 * held), Amount(left, 0, 10 * left, 3 * left),
                   {"why": gone} if gone else {})  # fmt: skip

    rows = [row("read", "a", 100, 90), row("read", "b", 10, 10), row("exact", "a", 90, 70, 5), row("exact", "b", 10, 9)]
    for tokens in (True, False):
        everything, a, _ = read_funnel(json.loads(json.dumps({"rows": funnel_json(rows, tokens)})))
        assert (everything.source, everything.entered, everything.left.documents) == ("all sources", 110, 79)
        assert [step.dropped for step in everything.steps] == [10, 16] and everything.left.held_out == 5
        assert a.left.reasons == {"why": 15} and everything.left.reasons == {"why": 16}
        assert everything.left.tokens == (3 * 79 if tokens else None)
    [only] = read_funnel({"rows": funnel_json(rows[:1], True)})
    assert only.source == "a"


def test_packing_is_that_of_the_run(tmp_path: Path) -> None:
    from megatron_redone.config.data import BlendSource
    from megatron_redone.config.loader import to_yaml
    from megatron_redone.config.sft import SftConfig
    from megatron_redone.config.sft_data import SftDataConfig, TooLong
    from megatron_redone.config.training import TrainingConfig
    from megatron_redone.report.packed_sources import packed_sources
    from tests.helpers.masked_data import random_conversations, write_conversations

    lengths = np.random.default_rng(0).integers(3, 60, 300).tolist()
    prefix = write_conversations(tmp_path / "chat", random_conversations(lengths, 90, seed=0), 90)
    config = SftDataConfig(blend=[BlendSource(path=str(prefix))], seq_length=48, too_long=TooLong.drop)
    places = [length - 1 for length in lengths if length <= 49]
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft" / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    text = to_yaml(
        SftConfig(
            output_dir="x", init_from="y", data=config, training=TrainingConfig(global_batch_size=2, train_steps=1)
        )
    )
    (tmp_path / "sft" / "config.yaml").write_text(text)
    run = read_run(tmp_path / "sft", "sft")
    [found] = packed_sources(run)
    assert (found.conversations, found.dropped, found.truncated) == (len(places), 300 - len(places), 0)
    assert found.efficiency == pytest.approx(sum(places) / (48 * found.rows)) and found.efficiency > 0.9
    assert found.unpacked == pytest.approx(np.mean(places) / 48)
