"""Runs of small steps: what was kept stays, and figures of more seeds are not replaced by those of fewer."""

import json
from pathlib import Path
from typing import Any

import pytest

from tools.small_steps.kept import keep_runs, kept_runs, name_of
from tools.small_steps.report import grouped, metrics, tables


def made_run(side: str, seed: int, loss: float, rate: float = 1e-5) -> dict[str, Any]:
    form = "main" if side == "fp32" else "model"
    judged = {form: {"loss": loss}, "nearest": {"loss": loss}, "stochastic": {"loss": loss}}
    return {"task": "cpt", "lr": rate, "side": side, "seed": seed, "losses": [5.0], "start": {"loss": 6.0}, **judged}


def write(work: Path, *runs: dict[str, Any]) -> None:
    for run in runs:
        file = work / "runs" / f"{name_of(run)}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(run))


def test_runs_of_one_folder_join_those_that_are_kept(tmp_path: Path) -> None:
    write(tmp_path / "a", made_run("fp32", 0, 4.0), made_run("dithered", 0, 4.2))
    keep_runs(tmp_path / "a", tmp_path / "kept")
    write(tmp_path / "b", made_run("dithered", 0, 4.1), made_run("fp32", 1, 5.0))
    kept = keep_runs(tmp_path / "b", tmp_path / "kept")
    assert sorted(kept) == ["cpt/1e-05/dithered/0", "cpt/1e-05/fp32/0", "cpt/1e-05/fp32/1"]
    assert kept["cpt/1e-05/dithered/0"]["model"]["loss"] == 4.1
    assert kept_runs(tmp_path / "kept") == kept


def test_figures_of_more_seeds_stay(tmp_path: Path) -> None:
    write(tmp_path, made_run("fp32", 0, 4.0), made_run("dithered", 0, 4.2), made_run("dithered", 1, 9.0))
    runs = grouped(keep_runs(tmp_path, tmp_path / "kept"))
    found = metrics(runs, {"cpt_1e-5_fp32_seeds": 2})
    assert found["cpt_1e-5_dithered_rel_diff"] == pytest.approx(0.05)
    assert found["cpt_1e-5_dithered_seeds"] == 1, "a seed without a run in fp32 says nothing"
    assert "cpt_1e-5_fp32_loss" not in found
    assert "cpt_1e-5_dithered_rel_diff" not in metrics(runs, {"cpt_1e-5_dithered_seeds": 2})


def test_what_was_not_judged_has_no_figure(tmp_path: Path) -> None:
    run = made_run("fp32", 1, 4.0)
    write(
        tmp_path, {key: value for key, value in run.items() if key not in ("nearest", "stochastic")} | {"changed": {}}
    )
    runs = grouped(keep_runs(tmp_path, tmp_path / "kept"))
    assert "cpt_1e-5_fp32_loss" in metrics(runs, {})
    assert not [name for name in metrics(runs, {}) if "export" in name]
    assert "| fp32 (1) |" in "\n".join(tables(runs)) and "exported" not in "\n".join(tables(runs))
