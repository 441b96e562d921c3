"""The shipped tasks: found, built on local files, scored as the benchmark's own code does, and told where they lack."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from megatron_redone.config.evaluate import BenchmarkSource, Scoring
from megatron_redone.errors import UserError
from megatron_redone.evaluation.benchmark_metrics import answer_shares, benchmark_metrics
from megatron_redone.evaluation.benchmark_runs import TASKS, find_tasks, run_task
from megatron_redone.evaluation.bootstrap import value_of
from megatron_redone.evaluation.rule_model import RuleModel, rules_for
from tests.helpers import shared_data
from tests.helpers.shared_data import needs_shared_data
from tests.helpers.sns_bench_predictions import VARIANTS, records
from tests.helpers.sns_bench_reference import reference_score

DATA = shared_data.FOLDER / "bench_dev"
ALL = 1 << 30


def found(task: str, data: Path | str | None, limit: int = ALL, **options: Any) -> Any:
    return find_tasks(BenchmarkSource(task=task, data=None if data is None else str(data), **options), limit, 0)


def scores(benchmark: Any, rule: Any, scoring: Scoring) -> dict[str, float]:
    results = run_task(benchmark, RuleModel(rule), chat=False)
    metrics = benchmark_metrics(benchmark.task, results, scoring)
    return {metric.name: value_of(metric.statistic(results), len(results)) for metric in metrics}


@needs_shared_data
def test_sns_bench_has_twelve_subsets_in_eight_tasks() -> None:
    tasks = found("sns_bench", DATA / "sns_bench_sample")
    assert len(tasks) == 12
    assert len({task.source.split("/")[0] for task in tasks}) == 8
    assert sum(len(task.task.eval_docs) for task in tasks) == 669


@needs_shared_data
@pytest.mark.parametrize("subset", ["CHLW", "NER", "QueryCorr-topic"])
def test_scores_through_the_harness(subset: str) -> None:
    """The official score of what a model writes is the second implementation's; gold answers get 100 when corrected."""
    name = {"CHLW": "chlw", "NER": "ner", "QueryCorr-topic": "query_corr_topic"}[subset]
    [benchmark] = found(f"sns_bench_{name}", DATA / "sns_bench_sample")
    items = records(subset)
    answers = {record["answer"]: text for record, text in zip(items, VARIANTS["code"](items), strict=True)}
    rule = lambda doc: answers[json.loads(doc["gold_json"])]  # noqa: E731
    golds = [record["answer"] for record in items]
    expected = reference_score(subset, [answers[gold] for gold in golds], golds)
    assert 100 * scores(benchmark, rule, Scoring.official)["official"] == pytest.approx(expected, abs=1e-4)
    gold = lambda doc: doc["gold"]  # noqa: E731
    assert scores(benchmark, gold, Scoring.corrected) == {"corrected": pytest.approx(1)}


@needs_shared_data
def test_rules_and_shares() -> None:
    [benchmark] = found("sns_bench_chlw", DATA / "sns_bench_sample")
    rules = rules_for(benchmark.task, benchmark.docs, 0)
    assert [*rules] == ["always []", "majority", "random"]
    assert scores(benchmark, rules["always []"], Scoring.official)["official"] == pytest.approx(2 / 3, abs=1e-4)
    assert scores(benchmark, rules["always []"], Scoring.corrected)["corrected"] == 0
    results = run_task(benchmark, RuleModel(rules["majority"]), chat=False)
    assert answer_shares(results, Scoring.official) == {"commonest": 1, "commonest_answer": "[]", "parsed": 1}


@needs_shared_data
def test_translation_scores_are_sacrebleus() -> None:
    import sacrebleu

    tasks = {task.name: task for task in found("redtrans", DATA / "redtrans_sample", 20)}
    assert [*tasks] == ["redtrans_zh_en", "redtrans_en_zh"]
    for name, tokenizer in (("redtrans_zh_en", "13a"), ("redtrans_en_zh", "zh")):
        docs = tasks[name].docs
        half = lambda doc: doc["gold"][: len(doc["gold"]) // 2]  # noqa: E731
        found_scores = scores(tasks[name], half, Scoring.official)
        bleu = [sacrebleu.sentence_bleu(half(doc), [doc["gold"]], tokenize=tokenizer).score for doc in docs]
        chrf = [sacrebleu.metrics.CHRF(word_order=2).sentence_score(half(doc), [doc["gold"]]).score for doc in docs]
        assert found_scores["bleu"] == pytest.approx(sum(bleu) / 2000, abs=1e-9)
        assert found_scores["chrf"] == pytest.approx(sum(chrf) / 2000, abs=1e-9)
        assert scores(tasks[name], lambda doc: doc["gold"], Scoring.official) == pytest.approx({"bleu": 1, "chrf": 1})


@needs_shared_data
def test_multiple_choice_of_both_forms() -> None:
    [mmlu] = found("mmlu_local", DATA / "mmlu_dev")
    assert len(mmlu.docs) == 57 * 5
    first = mmlu.docs[0]
    assert first["prompt"].count("Answer:") == 5  # the other four of the subject, and its own
    assert first["prompt"].startswith(
        "The following are multiple choice questions (with answers) about abstract algebra"
    )
    assert scores(mmlu, lambda doc: doc["answer"], Scoring.official) == {"acc": 1}
    [cmmlu] = found("cmmlu_local", DATA / "cmmlu_dev", num_fewshot=2)
    assert len(cmmlu.docs) == 67 * 5
    assert cmmlu.docs[0]["prompt"].count("答案：") == 3
    right = scores(cmmlu, rules_for(cmmlu.task, cmmlu.docs, 0)["random"], Scoring.official)["acc"]
    assert 0.15 < right < 0.35


@needs_shared_data
def test_worked_answers() -> None:
    [gsm8k] = found("gsm8k_local", shared_data.FOLDER / "sft" / "gsm8k_train.jsonl", 20)
    right = scores(gsm8k, lambda doc: doc["target"], Scoring.official)
    assert right == {"exact_match,flexible-extract": 1, "exact_match,strict-match": 1}
    assert gsm8k.docs[0]["prompt"].count("Question:") == 6
    number = lambda doc: "It is " + doc["target"].split("#### ")[1]  # noqa: E731
    assert scores(gsm8k, number, Scoring.official) == {
        "exact_match,flexible-extract": 1,
        "exact_match,strict-match": 0,
    }


def test_bbh_and_ifeval(tmp_path: Path) -> None:
    items = [{"input": "not ( True ) is", "target": "False"}, {"input": "True and True is", "target": "True"}]
    (tmp_path / "boolean_expressions.json").write_text(json.dumps({"examples": items}))
    [bbh] = found("bbh_local", tmp_path)
    assert bbh.docs[0]["prompt"].count("Let's think step by step") == 4
    assert scores(bbh, lambda doc: f"So the answer is {doc['target']}.", Scoring.official) == {"exact_match": 1}
    assert scores(bbh, lambda doc: doc["target"], Scoring.official) == {"exact_match": 0}
    assert scores(bbh, rules_for(bbh.task, bbh.docs, 0)["majority"], Scoring.official) == {"exact_match": 0.5}
    asked = {
        "key": 1,
        "prompt": "Write without commas.",
        "instruction_id_list": ["punctuation:no_comma"],
        "kwargs": [{}],
    }
    two = {
        "key": 2,
        "prompt": "Write at least 5 words in lower case.",
        "instruction_id_list": ["change_case:english_lowercase", "length_constraints:number_words"],
        "kwargs": [{}, {"relation": "at least", "num_words": 5}],
    }
    (tmp_path / "input_data.jsonl").write_text("\n".join(map(json.dumps, [asked, two])))
    [ifeval] = found("ifeval_local", tmp_path)
    values = scores(ifeval, lambda doc: "four words of mine", Scoring.official)
    assert values["prompt_level_strict_acc"] == 0.5
    assert values["inst_level_strict_acc"] == pytest.approx(2 / 3)


def test_tasks_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text('{"q": "1 + 1", "a": "2"}\n{"q": "2 + 2", "a": "4"}\n')
    (tmp_path / "mine.yaml").write_text(
        "task: mine\ndataset_path: json\noutput_type: generate_until\ntest_split: train\n"
        f"dataset_kwargs: {{data_files: {tmp_path}/items.jsonl}}\ndoc_to_text: '{{{{q}}}} ='\ndoc_to_target: a\n"
        "metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]\n"
    )
    [mine] = found("mine", None, include=str(tmp_path))
    assert scores(mine, lambda doc: "2", Scoring.official) == {"exact_match": 0.5}


OWN = """task: mine
dataset_path: json
output_type: generate_until
test_split: test
fewshot_split: train
num_fewshot: 1
dataset_kwargs: {data_files: {test: FOLDER/items.jsonl, train: FOLDER/shown.jsonl}}
description: Add.
doc_to_text: '{{q}} ='
doc_to_target: a
process_docs: !function functions.all_of
process_results: !function functions.score
fewshot_config: {sampler: first_n, doc_to_text: !function functions.shown}
filter_list: [{name: none, filter: [{function: take_first}]}]
metric_list: [{metric: right, aggregation: !function functions.mean, higher_is_better: true}]
"""
OWN_FUNCTIONS = """from functools import partial

def chosen(docs, least):
    return docs.filter(lambda doc: len(doc["q"]) > least)

all_of = partial(chosen, least=0)

def score(doc, results):
    return {"right": float(results[0].strip() == doc["a"])}

def shown(doc):
    return doc["q"]

def mean(values):
    return sum(values) / len(values)
"""


def write_own(folder: Path) -> None:
    (folder / "items.jsonl").write_text('{"q": "1 + 1", "a": "2"}\n{"q": "2 + 2", "a": "4"}\n')
    (folder / "shown.jsonl").write_text('{"q": "3 + 3", "a": "6"}\n')
    (folder / "mine.yaml").write_text(OWN.replace("FOLDER", str(folder)))
    (folder / "functions.py").write_text(OWN_FUNCTIONS)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("mine.yaml", "description: Add.", "description: Compute."),
        ("mine.yaml", "doc_to_target: a", "doc_to_target: q"),
        ("mine.yaml", "higher_is_better: true", "higher_is_better: false"),
        ("mine.yaml", "sampler: first_n", "sampler: default"),
        ("functions.py", "results[0].strip()", "results[0]"),
        ("functions.py", 'return doc["q"]', 'return doc["q"] + "?"'),
        ("functions.py", "/ len(values)", "/ 2"),
        ("functions.py", "least=0", "least=1"),
        ("items.jsonl", "1 + 1", "2 + 0"),
        ("shown.jsonl", "3 + 3", "5 + 1"),
    ],
)
def test_whatever_a_task_of_ones_own_says_is_part_of_its_digest(file: str, old: str, new: str, tmp_path: Path) -> None:
    write_own(tmp_path)
    before, again = (found("mine", None, include=str(tmp_path))[0].digest for _ in range(2))
    assert before == again
    text = (tmp_path / file).read_text()
    (tmp_path / file).write_text(text.replace(old, new))
    assert (tmp_path / file).read_text() != text
    assert found("mine", None, include=str(tmp_path))[0].digest != before


def test_a_digest_is_the_same_in_another_process(tmp_path: Path) -> None:
    """A function that is called by its address would be another one in every process."""
    write_own(tmp_path)
    program = (
        "from tests.unit.evaluation.test_benchmark_runs import found; import sys; "
        "print(found('mine', None, include=sys.argv[1])[0].digest)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    [here] = found("mine", None, include=str(tmp_path))
    assert done.stdout.split() == [here.digest]


@needs_shared_data
def test_draws_and_digests() -> None:
    [some] = found("sns_bench_ner", DATA / "sns_bench_sample", 7)
    [again] = found("sns_bench_ner", DATA / "sns_bench_sample", 7)
    [more] = found("sns_bench_ner", DATA / "sns_bench_sample", 8)
    assert len(some.docs) == 7 and some.digest == again.digest != more.digest
    results = run_task(some, RuleModel(lambda doc: doc["gold"]), chat=False)
    assert [result["record"] for result in results] == [number + 1 for number in some.chosen]


def test_prompts_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "Note-Gender.json").write_text(json.dumps([{"content": "a note", "answer": "Yes"}]))
    (tmp_path / "prompts.json").write_text(json.dumps({"Gender": "Say Yes: {content}"}))
    [gender] = found("sns_bench_gender", tmp_path, prompts=str(tmp_path / "prompts.json"))
    assert gender.docs[0]["prompt"] == "Say Yes: a note"


@pytest.mark.parametrize(
    ("task", "files", "line"),
    [
        ("nothing", {}, "there is no task 'nothing'; there are bbh_local"),
        ("sns_bench_ner", None, "its data has no place; name the folder with data=FOLDER"),
        ("sns_bench_ner", {}, "has no Note-NER.json"),
        ("sns_bench_ner", {"Note-NER.json": "[1"}, "is no JSON"),
        ("sns_bench_ner", {"Note-NER.json": '[{"content": "x"}]'}, "record 1 of .* has no 'answer'"),
        ("sns_bench_ner", {"Note-NER.json": '[{"answer": "x"}]'}, "asks for 'question'"),
        ("mmlu_local", {}, "has no CSV files"),
        ("mmlu_local", {"a.csv": "what,1,2,3,4,F\n"}, "right answer 'F'"),
        ("mmlu_local", {"a.csv": "what,1,2,A\n"}, "has 4 columns"),
        ("gsm8k_local", {"test.jsonl": '{"question": "x"}\n'}, "has no 'answer'"),
        ("bbh_local", {"unknown.json": '{"examples": []}'}, "no worked examples of unknown"),
        ("redtrans", {"RedTrans-Bench.json": '[{"zh": "x"}]'}, "has no 'en'"),
        ("ifeval_local", {"input_data.jsonl": '{"key": 1}\n'}, "has no 'prompt'"),
    ],
)
def test_what_is_wrong_with_data_is_a_line(task: str, files: dict[str, str] | None, line: str, tmp_path: Path) -> None:
    for name, text in (files or {}).items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=line) as error:
        found(task, None if files is None else tmp_path)
    assert "\n" not in str(error.value)


def test_the_shipped_tasks_are_package_data() -> None:
    text = (Path(__file__).parents[3] / "setup.py").read_text()
    for file in TASKS.rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts:
            assert file.parent.parent == TASKS and (file.suffix in (".yaml", ".py") or file.name.endswith("_yaml"))
    assert '"tasks/*/*.yaml", "tasks/*/*_yaml", "tasks/*/*.py"' in text
