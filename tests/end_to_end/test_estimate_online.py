"""`redone estimate-online` from the command line: figures, done once, damaged, and every way that logs can be wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers import commands
from tests.off_policy import simulation
from tests.off_policy.exposed_posts import labelled, population

NAMES = list("abcdef")


def write(path: Path, records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def named(probabilities: np.ndarray) -> dict[str, float]:
    return dict(zip(NAMES, probabilities.tolist(), strict=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of single suggestions with a model of clicks, one of slates, and labelled posts."""
    folder = tmp_path_factory.mktemp("logs")
    random = np.random.default_rng(3)
    pages = simulation.pages(6000, random, sharpness=1.0)
    single = simulation.single_log(pages, random)
    rows = zip(single["action"], single["click"], pages.logging, pages.policy, single["expected"], strict=True)
    write(
        folder / "single.jsonl",
        (
            {
                "shown": NAMES[shown], "propensity": named(logged), "click": int(click),
                "policies": {"new": named(new), "old": named(logged)}, "expected_clicks": named(expected),
            }
            for shown, click, logged, new, expected in rows
        ),
    )  # fmt: skip
    near = simulation.pages(6000, random, sharpness=0.5)
    slates = simulation.slate_log(near, random, 2)
    write(
        folder / "slates.jsonl",
        (
            {
                "shown": ["x", "y"],
                "clicks": slates["clicks"][i].astype(int).tolist(),
                "propensity": {kind: each[i].tolist() for kind, each in slates["logging"].items()},
                "policies": {"new": {kind: each[i].tolist() for kind, each in slates["policy"].items()}},
            }
            for i in range(6000)
        ),
    )
    posts, old, new = labelled(8000, random)
    write(
        folder / "posts.jsonl",
        (
            {
                "impressions": seen,
                "harmful": bool(harm),
                "label_probability": 1 / stands,
                "scores": {"old": o, "new": n},
            }
            for seen, harm, stands, o, n in zip(
                posts.impressions, posts.harmful, posts.sample_weights, old, new, strict=True
            )
        ),
    )
    return folder


def keys(folder: Path, output: Path) -> list[str]:
    return [
        f"output={output}",
        f"post_view_search=[{{path: {folder}/single.jsonl}}, {{path: {folder}/slates.jsonl}}]",
        f"exposure=[{{path: {folder}/posts.jsonl, baseline: old, removed: [0.03], precision: [0.3]}}]",
        "bootstrap={resamples: 200, confidence: 0.999}",
    ]


@pytest.fixture(scope="module")
def finished(folder: Path) -> Path:
    done = commands.main("estimate-online", *keys(folder, folder / "out"))
    assert done.returncode == 0, done.stderr
    assert done.stdout == (folder / "out" / "online.md").read_text()
    return folder / "out"


def estimates(output: Path) -> dict[tuple[str, str, str, str], dict[str, Any]]:
    found = json.loads((output / "online.json").read_text())["estimates"]
    return {(one["source"], one["measure"], one["policy"], one["estimator"]): one for one in found}


def test_the_figures_hold_the_truth(finished: Path) -> None:
    found = estimates(finished)
    random = np.random.default_rng(11)
    single = simulation.single_truth(simulation.pages(200_000, random, sharpness=1.0))
    slates, any_click = simulation.slate_truth(simulation.pages(200_000, random, sharpness=0.5), random, 2)
    truths = [(("single", "pages with a click", "new", name), single) for name in ("ips", "snips", "dr")]
    truths += [(("slates", "clicks a page", "new", "reward_interaction_ips"), slates),
               (("slates", "pages with a click", "new", "reward_interaction_ips"), any_click)]  # fmt: skip
    for place, truth in truths:
        assert found[place]["value_low"] < truth < found[place]["value_high"], place
    posts, old, new = population(200_000, np.random.default_rng(12))
    harmful = posts.impressions * posts.harmful
    left = [np.argsort(scores)[:-6000] for scores in (old, new)]
    rates = [harmful[kept].sum() / posts.impressions[kept].sum() for kept in left]
    one = found["posts", "exposure", "new", "3 % removed"]
    assert one["change_low"] < rates[1] / rates[0] - 1 < one["change_high"]
    assert [one["removed"], one["baseline_removed"]] == pytest.approx([0.03, 0.03])


def test_the_policy_that_was_logged_changes_nothing(finished: Path) -> None:
    found = estimates(finished)
    itself = found["single", "pages with a click", "old", "ips"]
    logged = found["single", "pages with a click", "as logged", "mean"]
    assert itself["value"] == pytest.approx(logged["value"]) and logged["change"] is None
    assert abs(itself["change"]) < 1e-12 and itself["effective_records"] == pytest.approx(6000)


def test_the_table_shows_every_estimate(finished: Path) -> None:
    table = (finished / "online.md").read_text()
    assert table.count("\n## ") == 4 and "switch-DR" in table and "reward-interaction IPS" in table
    assert table.count("\n| new |") == len([one for one in estimates(finished) if one[2] == "new"])
    assert (finished / "invalid.jsonl").read_text() == ""


def test_again_there_is_nothing_to_do(finished: Path, folder: Path) -> None:
    before = (finished / "online.json").stat().st_mtime_ns
    done = commands.main("estimate-online", *keys(folder, finished))
    assert done.returncode == 0 and "complete already, nothing to do" in done.stderr
    assert done.stdout == (finished / "online.md").read_text()
    assert (finished / "online.json").stat().st_mtime_ns == before
    done = commands.main("estimate-online", *keys(folder, finished), "bootstrap.seed=1")
    assert done.returncode == 2 and "made from other input or settings" in done.stderr


def test_a_damaged_table_is_made_again(finished: Path, folder: Path) -> None:
    table = (finished / "online.md").read_text()
    (finished / "online.md").write_text("gone")
    done = commands.main("estimate-online", *keys(folder, finished))
    assert done.returncode == 0 and (finished / "online.md").read_text() == table


def test_a_dry_run_reads_no_log(tmp_path: Path) -> None:
    done = commands.main("estimate-online", "--dry-run", *keys(tmp_path, tmp_path / "out"))
    assert done.returncode == 0 and "least_clicks: 20.0" in done.stdout and not (tmp_path / "out").exists()


PAGE: dict[str, Any] = {"shown": "a", "propensity": 0.5, "click": 1, "policies": {"new": 0.5}}
POST: dict[str, Any] = {"impressions": 9, "harmful": True, "scores": {"old": 0.2, "new": 0.7}}


def refused(tmp_path: Path, kind: str, records: Any, *more: str) -> str:
    """The one line with which a log is refused; nothing is left then."""
    path = tmp_path / "log.jsonl"
    if isinstance(records, str):
        path.write_text(records)
    elif records is not None:
        write(path, records)
    source = f"{{path: {path}, baseline: old}}" if kind == "exposure" else f"{{path: {path}}}"
    done = commands.main("estimate-online", f"output={tmp_path}/out", f"{kind}=[{source}]", *more)
    assert done.returncode == 2, done.stdout
    [line] = done.stderr.splitlines()
    assert not (tmp_path / "out" / "online.json").exists()
    return line


@pytest.mark.parametrize(
    ("kind", "records", "reason"),
    [
        ("post_view_search", None, "no such file or directory"),
        ("post_view_search", "", "not one record that can be used"),
        ("post_view_search", [{"text": "x"}], "1 of 1 records are invalid, more than max_invalid=0.01; the first is"),
        ("post_view_search", [{"text": "x"}], "log.jsonl:1: no key 'shown'"),
        ("post_view_search", [{**PAGE, "propensity": 0}], "'propensity' is 0, of what has happened"),
        ("post_view_search", '{"shown": "a", "propensity": NaN}\n', "NaN"),
        ("post_view_search", [{**PAGE, "policies": {"new": {"a": 0.4, "b": 0.4}}}], "do not sum to 1"),
        ("post_view_search", [PAGE] * 50, "nothing can be said of 'new': 50 pages say as much as 50"),
        ("post_view_search", [{**PAGE, "click": 0}] * 500, "0 clicks say as much as 0"),
        (
            "post_view_search",
            [{**PAGE, "policies": {"new": 0.0}}] * 500,
            "log more pages, or estimate one that is nearer",
        ),
        ("post_view_search", [{**PAGE, "policies": {"new": 0.25}}] * 500, "weights average 0.500 and not 1"),
        (
            "post_view_search",
            [{**PAGE, "propensity": {"a": 1}, "policies": {"new": {"a": 0.9, "b": 0.1}}}] * 500,
            "10 % of what it would show the log never shows there, more than most_uncovered=0.001",
        ),
        ("exposure", None, "no such file or directory"),
        ("exposure", [{**POST, "scores": {"new": 1}}] * 9, "baseline 'old' has no scores there; there are new"),
        ("exposure", [{**POST, "scores": {"old": 1}}] * 9, "'scores' has the baseline alone"),
        ("exposure", [POST] * 5 + [{**POST, "harmful": False}] * 90, "5 harmful posts say as much as 5"),
    ],
)
def test_a_log_that_says_nothing_is_refused_in_a_line(tmp_path: Path, kind: str, records: Any, reason: str) -> None:
    assert reason in refused(tmp_path, kind, records)


def test_a_few_invalid_records_are_listed_and_the_others_used(tmp_path: Path) -> None:
    pages = [{**PAGE, "click": i % 5 == 0} for i in range(1000)]
    write(tmp_path / "log.jsonl", [*pages, {**PAGE, "propensity": 0}])
    done = commands.main(
        "estimate-online", f"output={tmp_path}/out", f"post_view_search=[{{path: {tmp_path}/log.jsonl}}]"
    )
    assert done.returncode == 0 and "log: 1 of 1,001 records are invalid, listed in" in done.stderr
    [invalid] = (tmp_path / "out" / "invalid.jsonl").read_text().splitlines()
    assert json.loads(invalid)["place"] == 1001
    assert {one[3] for one in estimates(tmp_path / "out")} == {"mean", "ips", "snips"}, "no model of clicks, no DR"


def test_a_policy_that_is_too_far_is_told_and_the_other_estimated(tmp_path: Path) -> None:
    pages = [{**PAGE, "click": i % 5 == 0, "policies": {"new": 0.5, "far": 0.25}} for i in range(1000)]
    write(tmp_path / "log.jsonl", pages)
    done = commands.main(
        "estimate-online", f"output={tmp_path}/out", f"post_view_search=[{{path: {tmp_path}/log.jsonl}}]"
    )
    assert done.returncode == 0
    assert done.stderr.count("no estimate of 'far': weights average 0.500 and not 1") == 1
    assert "| far | IPS | refused: weights average 0.500" in done.stdout


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (["exposure=[]"], "nothing to estimate from"),
        (["exposure=[{path: a.jsonl}]"], "baseline"),
        (["exposure=[{path: a.jsonl, baseline: old, removed: [1.5]}]"], "removed: 1.5 is not between 0 and 1"),
        (["exposure=[{path: a.jsonl, baseline: old, removed: [], precision: []}]"], "no rule is left"),
        (["post_view_search=[{path: a.jsonl}, {path: b/a.jsonl}]"], "two logs are called 'a'"),
    ],
)
def test_a_configuration_that_means_nothing_is_refused(tmp_path: Path, given: list[str], reason: str) -> None:
    done = commands.main("estimate-online", f"output={tmp_path}/out", *given)
    assert done.returncode == 2 and reason in done.stderr
