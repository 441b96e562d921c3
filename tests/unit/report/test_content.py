"""What a report gathers from runs, funnels and datasets."""

from pathlib import Path

from megatron_redone.config.report import ReportConfig
from megatron_redone.report.content import gather, short_names


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
