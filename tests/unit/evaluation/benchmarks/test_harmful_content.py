"""Harmful content as harness tasks: formats, prompts, margins, rules, and every way the data can be wrong."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from megatron_redone.config.evaluate import BenchmarkSource, HarmFormat, HarmSource, Scoring
from megatron_redone.errors import UserError
from megatron_redone.evaluation.benchmark_metrics import benchmark_metrics
from megatron_redone.evaluation.benchmark_runs import find_tasks, run_task
from megatron_redone.evaluation.benchmarks.harmful_content import score
from megatron_redone.evaluation.bootstrap import value_of
from megatron_redone.evaluation.rule_model import RuleModel, rules_for
from tests.helpers import shared_data
from tests.helpers.shared_data import needs_shared_data

COLD = "topic,label,TEXT\nrace,1,滚出我们的城市\ngender,0,今天天气很好\nrace,0,我喜欢这里的人\n"
TABLE: dict[str, Any] = {
    "format": HarmFormat.table, "text_key": "tweet", "label_key": "class", "harmful": ["0", "1"], "harmless": ["2"],
}  # fmt: skip


def found(task: str, data: Path, limit: int = 1 << 30, **harm: Any) -> Any:
    return find_tasks(BenchmarkSource(task=task, data=str(data), harm=HarmSource(**harm)), limit, 0)


def write(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def values(benchmark: Any, rule: Any) -> dict[str, float]:
    results = run_task(benchmark, RuleModel(rule), chat=False)
    metrics = benchmark_metrics(benchmark.task, results, Scoring.corrected)
    return {metric.name: value_of(metric.statistic(results), len(results)) for metric in metrics}


@needs_shared_data
def test_cold_as_it_is_and_perturbed(tmp_path: Path) -> None:
    lines = (shared_data.FOLDER / "social_zh" / "cold" / "dev.csv").read_text(encoding="utf-8").splitlines()
    tasks = found("harm", write(tmp_path, "cold.csv", "\n".join(lines[:61])), 40)
    assert [task.source for task in tasks] == ["plain", "homophones", "split", "emoji", "spaces"]
    plain = tasks[0]
    assert {task.variant_of for task in tasks} == {"plain"}
    assert len({tuple(task.chosen) for task in tasks}) == 1, "the same items in all of them"
    golds = [[doc["gold"] for doc in task.docs] for task in tasks]
    assert all(each == golds[0] for each in golds) and set(golds[0]) == {0, 1}
    for task in tasks[1:]:
        changed = sum(one["text"] != other["text"] for one, other in zip(task.docs, plain.docs, strict=True))
        assert changed >= 36, task.source
    assert plain.docs[0]["prompt"].count(plain.docs[0]["text"]) == 1 and plain.docs[0]["answers"] == ["否", "是"]
    right = values(plain, lambda doc: doc["gold"])
    assert set(right.values()) == {1.0} and len(right) == 9
    assert len(values(tasks[1], lambda doc: doc["gold"])) == 3
    rules = rules_for(plain.task, plain.docs, 0)
    assert [*rules] == ["always harmless", "always harmful", "majority", "random"]
    always = values(plain, rules["always harmful"])
    prevalence = sum(golds[0]) / 40
    assert always["precision_harmful"] == always["average_precision"] == pytest.approx(prevalence)
    assert always["recall_harmful"] == 1 and always["f1_harmless"] == 0


def test_a_table_with_labels_of_its_own_in_english(tmp_path: Path) -> None:
    file = write(tmp_path, "tweets.csv", 'tweet,class\nI hate them,0\n"nice, really",2\ngo away you lot,1\n')
    plain, emoji, spaces = found("harm_latin", file, **TABLE)
    assert [doc["gold"] for doc in plain.docs] == [1, 0, 1] and plain.docs[0]["answers"] == ["No", "Yes"]
    assert "social network:\nI hate them\n" in plain.docs[0]["prompt"]
    assert emoji.docs[0]["text"] != spaces.docs[0]["text"] != "I hate them"
    lines = "".join(json.dumps({"tweet": t, "class": c}) + "\n" for t, c in (("a b", 1), ("c d", 2)))
    [asked] = found("harm_plain", write(tmp_path, "tweets.jsonl", lines), prompt="{text} Bad?", **TABLE)
    assert [(doc["prompt"], doc["gold"]) for doc in asked.docs] == [("a b Bad?", 1), ("c d Bad?", 0)]


def test_six_classes_of_which_five_are_harmful(tmp_path: Path) -> None:
    labels = ["博彩", "不违规", "欺诈", "谩骂引战"]
    write(tmp_path, "bench.json", json.dumps([{"文本": f"内容{n}", "标签": one} for n, one in enumerate(labels)]))
    [plain] = found("harm_plain", tmp_path, format=HarmFormat.chinese_harm)
    assert [doc["gold"] for doc in plain.docs] == [0, 5, 3, 2] and plain.docs[0]["harmless"] == [5]
    assert set(values(plain, lambda doc: doc["gold"]).values()) == {1.0, 0.0}, "two classes are not there"
    assert values(plain, lambda doc: doc["gold"])["macro_f1"] == 1


def test_the_margin_takes_harmful_answers_together() -> None:
    item = {"gold": 1, "harmless": [2]}
    [found] = score(item, [(math.log(0.2), False), (math.log(0.3), True), (math.log(0.25), False)]).values()
    assert found["answer"] == 1 and found["is_harmful"]
    assert found["margin"] == pytest.approx(math.log(0.5 / 0.25))


@pytest.mark.parametrize(
    ("name", "text", "harm", "reason"),
    [
        ("a.csv", "topic,TEXT\nrace,x\n", {}, "record 1 of .* has no 'label'"),
        ("a.csv", "label,TEXT\n", {}, "holds no records"),
        ("a.csv", "label,TEXT\n2,x\n", {}, "record 1 of .* has the label '2', not one of 0, 1"),
        ("a.csv", "label,TEXT\n1,x\n0,  \n", {}, "record 2 of .* has no text under 'TEXT'"),
        ("a.json", "{", {"format": HarmFormat.chinese_harm}, "is no JSON"),
        ("a.json", '[{"文本": "x", "标签": "好"}]', {"format": HarmFormat.chinese_harm}, "has the label '好'"),
        ("a.csv", "tweet,class\nx,9\n", TABLE, "has the label '9', not one of 2, 0, 1"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, name: str, text: str, harm: Any, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        found("harm_plain", write(tmp_path, name, text), **harm)


def test_texts_that_a_perturbation_cannot_change_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"homophones changes none of the texts .* take the task harm_latin"):
        found("harm", write(tmp_path, "a.csv", "label,TEXT\n1,go away\n0,hello there\n"))
    with pytest.raises(UserError, match=r"has no test.csv or dev.csv"):
        (tmp_path / "b").mkdir()
        found("harm", tmp_path / "b")


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        ({"format": HarmFormat.table}, "harm.text_key: a table has no names of its own"),
        ({**TABLE, "harmless": []}, "harm.harmless: a table"),
        ({**TABLE, "harmless": ["1"]}, "'1' is both harmful and harmless"),
        ({"prompt": "Is it?"}, "no {text} in it"),
    ],
)
def test_a_configuration_that_means_nothing_is_refused(harm: Any, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        HarmSource(**harm)
