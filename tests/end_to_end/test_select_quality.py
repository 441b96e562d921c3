"""`redone select-quality`: the worst of each class goes, the mix stays, and scores are computed once."""

import json
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pycld2")
pytest.importorskip("ahocorasick_rs")
pytest.importorskip("xxhash")

from megatron_redone.config.loader import load_config
from megatron_redone.config.select_quality import SelectQualityConfig
from megatron_redone.errors import UserError
from megatron_redone.stages import select_quality
from tests.helpers import hf_folders
from tests.helpers.words import WORDS


def corpus(path: Path, posts: int = 300, seed: int = 0) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    records = []
    for i in range(posts):
        if i % 3:
            text = " ".join(rng.choices(WORDS, k=rng.choice([4, 30])))
        else:
            text = "".join(rng.choices("湖边晚风吃面条周末去哪里走走", k=rng.choice([8, 60])))
        records.append({"id": f"d{i}", "text": text, "language": "en" if i % 3 else "zh", "topic": "x"})
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return records


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hf_folders.write(tmp_path_factory.mktemp("model"), "qwen2_tied")


def config(folder: Path, *keys: str) -> SelectQualityConfig:
    source = f"sources=[{{name: posts, input: {folder}/posts.jsonl}}]"
    common = [source, f"output_dir={folder}/out", "least_documents=20", "block_documents=64"]
    return load_config(SelectQualityConfig, None, [*common, *keys])


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_worst_of_each_class_goes_and_a_random_cut_is_as_large(tmp_path: Path, model: Path) -> None:
    records = corpus(tmp_path / "posts.jsonl")
    select_quality.run(config(tmp_path, f"perplexity.model={model}", "keep_to=0.75"))
    out = tmp_path / "out"
    kept, dropped, drawn = (
        read(out / "posts.jsonl"),
        read(out / "dropped/posts.jsonl"),
        read(out / "random/posts.jsonl"),
    )
    scores = {score["id"]: score for score in read(out / "scores/posts.jsonl")}
    given = {record["id"]: record for record in records}
    assert [record for record in records if record["id"] in {one["id"] for one in kept}] == kept
    assert sorted([*(one["id"] for one in kept), *(one["id"] for one in dropped)]) == sorted(given)
    by_class = Counter(score["class"] for score in scores.values())
    assert len(by_class) == 4
    by_choice = [Counter(scores[one["id"]]["class"] for one in chosen) for chosen in (kept, drawn)]
    assert by_choice[0] == by_choice[1]
    assert all(abs(by_choice[0][name] - 0.75 * count) <= 0.5 for name, count in by_class.items())
    assert all(given[one["id"]] == one for one in drawn) and drawn != kept
    for name in by_class:
        staying = max(scores[one["id"]]["score"] for one in kept if scores[one["id"]]["class"] == name)
        assert all(one["score"] >= staying for one in dropped if one["class"] == name)
    report = json.loads((out / "quality.json").read_text())
    assert sum(row["kept"] for row in report["classes"]) == len(kept)
    assert sum(row["characters_kept"] for row in report["classes"]) == sum(len(one["text"]) for one in kept)
    assert {one["percentile"] < 0.75 for one in report["examples"]["posts"]} == {True, False}


def test_another_percentile_needs_no_other_scores(tmp_path: Path, model: Path) -> None:
    corpus(tmp_path / "posts.jsonl")
    shutil.copytree(model, tmp_path / "model")
    key = f"perplexity.model={tmp_path}/model"
    select_quality.run(config(tmp_path, key))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/work").rglob("*.npz")}
    assert len(before) == 5
    with pytest.raises(UserError, match="overwrite=true"):
        select_quality.run(config(tmp_path, key, "keep_to=0.5"))
    select_quality.run(config(tmp_path, key, "keep_to=0.5", "overwrite=true"))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out/work").rglob("*.npz")} == before
    assert len(read(tmp_path / "out/posts.jsonl")) == 150


def test_jobs_score_their_parts_and_the_whole_is_the_same(tmp_path: Path, model: Path) -> None:
    corpus(tmp_path / "posts.jsonl")
    key = f"perplexity.model={model}"
    select_quality.run(config(tmp_path, key))
    whole = {p.relative_to(tmp_path): p.read_bytes() for p in (tmp_path / "out").rglob("*.jsonl")}
    shutil.rmtree(tmp_path / "out")
    for job in (1, 0):
        select_quality.run(config(tmp_path, key, f"job={job}", "jobs=2"))
        assert not (tmp_path / "out/posts.jsonl").exists()
    saved = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/work").rglob("*.npz")}
    assert len(saved) == 5
    select_quality.run(config(tmp_path, key))
    assert {p.relative_to(tmp_path): p.read_bytes() for p in (tmp_path / "out").rglob("*.jsonl")} == whole
    assert {path: path.stat().st_mtime_ns for path in saved} == saved


def test_a_classifier_scores_as_well(tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib")
    text = pytest.importorskip("sklearn.feature_extraction.text")
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    records = corpus(tmp_path / "posts.jsonl")
    good = ["noodles" in record["text"] for record in records]
    pipeline = make_pipeline(text.TfidfVectorizer(), LogisticRegression()).fit([r["text"] for r in records], good)
    joblib.dump(pipeline, tmp_path / "good.joblib")
    keys = [f"classifier.file={tmp_path}/good.joblib", "classifier.label=True", "keep_from=0.5", "keep_to=1"]
    with pytest.raises(UserError, match=r"classifier\.trusted"):
        select_quality.run(config(tmp_path, *keys))
    select_quality.run(config(tmp_path, *keys, "classifier.trusted=true"))
    scores = {score["id"]: score["score"] for score in read(tmp_path / "out/scores/posts.jsonl")}
    expected = pipeline.predict_proba([record["text"] for record in records])[:, 1]
    assert [scores[record["id"]] for record in records] == pytest.approx(expected.tolist(), abs=1e-4)
    assert len(read(tmp_path / "out/posts.jsonl")) == 150


def test_neither_its_input_nor_what_it_has_not_written_is_touched(tmp_path: Path, model: Path) -> None:
    corpus(tmp_path / "posts.jsonl", 60)
    whole = (tmp_path / "posts.jsonl").read_bytes()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/other.jsonl").write_text("theirs")
    with pytest.raises(UserError, match="lies where output is written"):
        select_quality.run(config(tmp_path, f"perplexity.model={model}", f"output_dir={tmp_path}"))
    for keep in ("0.2", "0.4"):
        select_quality.run(config(tmp_path, f"perplexity.model={model}", f"keep_from={keep}", "overwrite=true"))
    assert (tmp_path / "posts.jsonl").read_bytes() == whole
    assert (tmp_path / "out/other.jsonl").read_text() == "theirs"
    assert "other.jsonl" not in (tmp_path / "out/manifest.json").read_text()


def test_invalid_records_are_listed_and_too_many_stop_it(tmp_path: Path, model: Path) -> None:
    corpus(tmp_path / "posts.jsonl", 50)
    with (tmp_path / "posts.jsonl").open("a") as file:
        file.write('{"id": "x"}\n{"text": " "}\n[1]\n')
    keys = [f"perplexity.model={model}", "max_invalid=0.1"]
    with pytest.raises(UserError, match="3 of 53 records are invalid"):
        select_quality.run(config(tmp_path, f"perplexity.model={model}"))
    select_quality.run(config(tmp_path, *keys, "overwrite=true"))
    reasons = [one["reason"] for one in read(tmp_path / "out/posts.invalid.jsonl")]
    assert len(reasons) == 3 and reasons[:2] == ["no key 'text'", "empty text"]


def test_a_changed_input_is_scored_anew(tmp_path: Path, model: Path) -> None:
    corpus(tmp_path / "posts.jsonl", 60)
    keys = [f"perplexity.model={model}", "overwrite=true"]
    select_quality.run(config(tmp_path, *keys))
    records = corpus(tmp_path / "posts.jsonl", 90, seed=1)
    select_quality.run(config(tmp_path, *keys))
    assert [score["id"] for score in read(tmp_path / "out/scores/posts.jsonl")] == [one["id"] for one in records]
    assert len(list((tmp_path / "out/work").iterdir())) <= 2  # of other inputs nothing is kept, beside a lock


def test_one_scorer_must_be_named(tmp_path: Path) -> None:
    for keys in ([], ["perplexity.model=a", "classifier.file=b.bin"]):
        with pytest.raises(UserError, match=r"perplexity\.model"):
            config(tmp_path, *keys)
