"""Measure, approve, apply: nothing is dropped before a person has seen what it costs, and then just that."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("datatrove")

from megatron_redone.config.curate import CurateConfig
from megatron_redone.config.loader import load_config
from megatron_redone.errors import UserError
from megatron_redone.stages import curate

WORDS = [
    a + b
    for a in ["blue", "dark", "cold", "warm", "wide", "tall"]
    for b in ["lake", "hill", "road", "barn", "field", "river"]
]


def config(folder: Path, output: str, *keys: str) -> CurateConfig:
    sources = f"sources=[{{name: posts, input: {folder}/posts.jsonl}}]"
    return load_config(CurateConfig, None, [sources, f"output_dir={folder}/{output}", "workers=1", *keys])


def corpus(folder: Path) -> list[str]:
    """Posts of 1 to 30 words, some with dirt."""
    rng = random.Random(0)
    texts = [" ".join(rng.sample(WORDS, rng.randint(1, 30))) for _ in range(200)]
    texts += [f"{texts[0]} {rng.choice(WORDS)}"] * 2 + ["hey hey " * 20, "扣扣990000000001 低价", "😂" * 9]
    records = [{"id": f"p{i}", "text": text} for i, text in enumerate(texts)]
    folder.mkdir(exist_ok=True)
    (folder / "posts.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return texts


def approve(path: Path, **values: Any) -> None:
    content = yaml.safe_load(path.read_text())
    for step, thresholds in content["steps"].items():
        thresholds["approved"] = True
        thresholds.update({name: value for name, value in values.items() if name in thresholds})
        assert step
    path.write_text(yaml.safe_dump(content))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measured")
    corpus(folder)
    curate.run(config(folder, "measured", "mode=measure", "tasks=1"))
    return folder


def report(folder: Path, output: str = "measured") -> dict[str, Any]:
    return json.loads((folder / output / "measured.json").read_text())


def test_nothing_is_dropped_and_every_step_is_asked_about_everything(measured: Path, tmp_path: Path) -> None:
    found = report(measured)
    assert found["documents"] == {"posts": len(corpus(tmp_path / "in"))}
    steps = {row["step"]: row for row in found["steps"]}
    assert list(steps) == ["clean", "advertising", "repetition", "length", "exact", "near"]
    assert steps["advertising"]["reasons"] == {"qq account": 1}
    assert steps["repetition"]["dropped"] == 2
    assert steps["exact"]["dropped"] == 1
    assert "emoji" in {example["reason"] for example in found["examples"]["repetition"]}
    assert not (measured / "measured/posts.jsonl").exists()


def test_what_a_threshold_costs_is_what_it_would_drop(measured: Path) -> None:
    texts = [json.loads(line)["text"] for line in (measured / "posts.jsonl").read_text().splitlines()]
    rows = {row["value"]: row for row in report(measured)["thresholds"] if row["threshold"] == "length.min_social"}
    letters = {text: sum(character.isalnum() for character in text) for text in texts if text.isascii()}
    for value in (16, 48, 200):
        others = 2 if value > 27 else 1  # the two that are not in ASCII: 12 digits and 4 characters; emoji, no letters
        assert rows[value]["documents"] == others + sum(letters[text] < value for text in texts if text in letters)
    near = [row["documents"] for row in report(measured)["thresholds"] if row["threshold"] == "minhash.min_jaccard"]
    assert near == sorted(near, reverse=True) and near[0] >= 1


def test_what_is_measured_does_not_depend_on_tasks(measured: Path) -> None:
    curate.run(config(measured, "again", "mode=measure", "tasks=3", "workers=2"))
    assert report(measured, "again") == report(measured)
    assert (measured / "again/thresholds.yaml").read_text() == (measured / "measured/thresholds.yaml").read_text()


def test_only_what_is_approved_is_applied(measured: Path) -> None:
    file = measured / "measured/thresholds.yaml"
    apply = ["mode=apply", f"approved_file={file}", "held_out.fraction=0"]
    with pytest.raises(UserError, match="clean, advertising, repetition, length, exact, near not approved"):
        curate.run(config(measured, "applied", *apply))
    approve(file, **{"length.min_social": 60, "minhash.min_jaccard": 0.9})
    kept = file.read_text()
    curate.run(config(measured, "measured", "mode=measure"))  # complete already: what was approved stays
    assert file.read_text() == kept
    curate.run(config(measured, "applied", *apply))
    same = ["length.min_social=60", "minhash.min_jaccard=0.9", "held_out.fraction=0"]
    curate.run(config(measured, "direct", *same))
    for name in ("posts.jsonl", "funnel.json", "dropped/length/posts.jsonl"):
        assert (measured / "applied" / name).read_bytes() == (measured / "direct" / name).read_bytes()
    with pytest.raises(UserError, match="was measured on other input or with other settings"):
        curate.run(config(measured, "other", *apply, "clean.max_run=3"))


def test_what_was_approved_must_be_thresholds(tmp_path: Path) -> None:
    corpus(tmp_path)
    curate.run(config(tmp_path, "measured", "mode=measure", "measure.fraction=0.5"))
    assert 60 < report(tmp_path)["documents"]["posts"] < 145
    file = tmp_path / "measured/thresholds.yaml"
    apply = ["mode=apply", f"approved_file={file}"]
    approve(file, **{"length.min_social": "many"})
    with pytest.raises(UserError, match=r"length\.min_social is 'many', not a number"):
        curate.run(config(tmp_path, "applied", *apply))
    for value, problem in ((-1, "-1 is less than 0"), (float("inf"), "inf, not a number"), (2.5, "2.5, not a number")):
        approve(file, **{"length.min_social": value})
        with pytest.raises(UserError, match=rf"length\.min_social.*{problem}"):
            curate.run(config(tmp_path, "applied", *apply))
    content = yaml.safe_load(file.read_text())
    content["steps"]["length"] = {"approved": True, "length.least": 3}
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=r"length\.least is no threshold of the step 'length'"):
        curate.run(config(tmp_path, "applied", *apply))
    with pytest.raises(UserError, match="approved_file"):
        config(tmp_path, "applied", "mode=apply")
