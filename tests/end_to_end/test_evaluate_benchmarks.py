"""`redone evaluate` with tasks of lm-evaluation-harness: one table, nothing asked twice, mistakes in one line."""

import json
from pathlib import Path

import pytest

from megatron_redone.cli import main
from tests.helpers import chat_models

pytestmark = pytest.mark.usefixtures("one_thread")

GENDER = [{"content": f"a note on {what}", "answer": answer}
          for what, answer in (("cars", "Yes"), ("cakes", "No"), ("war", "Yes"))]  # fmt: skip
COLOURS = "Please identify all 'colour' entities"
ENTITIES = [
    {"question": COLOURS, "content": "red shoes, blue hat", "answer": "red, blue"},
    {"question": COLOURS, "content": "a white house", "answer": "white"},
]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    for name, seed in {"base": 0, "tuned": 1}.items():
        chat_models.write(folder / name, seed=seed)
    (folder / "sns").mkdir()
    (folder / "sns" / "Note-Gender.json").write_text(json.dumps(GENDER))
    (folder / "sns" / "Note-NER.json").write_text(json.dumps(ENTITIES))
    (folder / "mmlu").mkdir()
    (folder / "mmlu" / "astronomy.csv").write_text("".join(f"what is {n},a,b,c,d,{'ABCD'[n]}\n" for n in range(4)))
    (folder / "posts.jsonl").write_text('{"text": "a day at the sea"}\n')
    return folder


def evaluate(inputs: Path, output: Path, old: str = "", new: str = "") -> int:
    """With `new` for `old` in what is asked for."""
    tasks = ["{task: sns_bench_gender, max_new_tokens: 3, data: %s/sns}", "{task: mmlu_local, data: %s/mmlu}",
             "{task: sns_bench_ner, name: entities, max_new_tokens: 3, data: %s/sns}",
             "{task: bits_per_byte_local, data: %s/posts.jsonl}"]  # fmt: skip
    keys = [
        f"output={output}",
        f"models=[{{path: {inputs}/base}}, {{path: {inputs}/tuned}}]",
        f"benchmarks=[{', '.join(task % inputs for task in tasks)}]".replace(old, new, 1),
        "device=cpu",
        "bootstrap.resamples=200",
    ]
    return main(["evaluate", *keys])


@pytest.mark.slow
def test_benchmarks_stand_in_one_table(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "out"
    assert evaluate(inputs, output) == 0
    content = json.loads((output / "evaluation.json").read_text())
    entries = {(entry["model"], entry["side"], entry["metric"]): entry for entry in content["metrics"]}
    assert len(entries) == 8
    gender = next(source for source in content["sources"] if source["name"] == "sns_bench_gender")
    assert gender["without_model"]["always Yes"] == {"corrected": pytest.approx(2 / 3)}
    assert set(gender["answers"]) == {"base", "tuned"}
    entities = next(source for source in content["sources"] if source["name"] == "entities")
    assert entities["without_model"]["a copy of the text"]["corrected"] == 0
    tables = (output / "evaluation.md").read_text()
    assert "without a model" in tables and "66.7 always Yes" in tables and "one answer" in tables
    results = output / "examples" / "base" / "benchmarks.sns_bench_gender.jsonl"
    assert [json.loads(line)["expected"] for line in results.read_text().splitlines()] == ["Yes", "No", "Yes"]
    assert not [*output.rglob("*.partial.jsonl")]

    with caplog.at_level("INFO", logger="megatron_redone"):
        caplog.clear()
        assert evaluate(inputs, output) == 0
        assert "nothing to do" in caplog.text
        caplog.clear()
        (inputs / "tuned" / "chat_template.jinja").write_text(chat_models.CHATML + " ")
        assert evaluate(inputs, output) == 0
        assert "base on sns_bench_gender: kept from before" in caplog.text
        assert "tuned on sns_bench_gender: kept" not in caplog.text
        caplog.clear()
        assert evaluate(inputs, output, "max_new", "scoring: official, max_new") == 0
        assert caplog.text.count("kept from before") == 8
    assert "official score" in (output / "evaluation.md").read_text()


def test_mistakes_are_one_line(inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for old, new, line in (
        ("data: ", "data: /nowhere", "/sns does not exist; name the folder of its data with data=FOLDER"),
        ("task: sns_bench_gender", "task: nothing", "there is no task 'nothing'"),
        ("max_new", "include: /nowhere, max_new", "include: /nowhere is not a folder"),
    ):
        assert evaluate(inputs, tmp_path / "out", old, new) == 2
        error = capsys.readouterr().err.strip()
        assert line in error and len(error.splitlines()) == 1 and "Traceback" not in error
    assert not (tmp_path / "out" / "evaluation.json").exists()


def test_a_model_without_a_chat_template_is_one_line(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = chat_models.write(tmp_path / "plain")
    (plain / "chat_template.jinja").unlink()
    keys = [f"output={tmp_path}/out", f"models=[{{path: {plain}}}]", "device=cpu", "bootstrap.resamples=200"]
    task = f"{{task: sns_bench_gender, data: {inputs}/sns, max_new_tokens: 3%s}}"
    assert main(["evaluate", *keys, f"benchmarks=[{task % ''}]"]) == 2
    error = capsys.readouterr().err.strip()
    assert "has no chat template" in error and len(error.splitlines()) == 1
    assert main(["evaluate", *keys, f"benchmarks=[{task % ', chat: false'}]"]) == 0


@pytest.mark.slow
def test_harmful_content_and_what_perturbation_costs(inputs: Path, tmp_path: Path) -> None:
    texts = ["滚出我们的城市", "今天天气很好", "我喜欢这里的人", "这些人真是垃圾", "吃饭了吗", "你们都是猪"]
    rows = "".join(f"x,{number % 2},{text}\n" for number, text in enumerate(texts))
    (tmp_path / "cold.csv").write_text("topic,label,TEXT\n" + rows, encoding="utf-8")
    models = f"models=[{{path: {inputs}/base}}, {{path: {inputs}/tuned}}]"
    tasks = f"benchmarks=[{{task: harm, name: COLD, data: {tmp_path}/cold.csv}}]"
    keys = [f"output={tmp_path}/out", models, tasks, "device=cpu", "bootstrap.resamples=100"]
    assert main(["evaluate", *keys]) == 0
    content = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    found = {(one["path"], one["metric"]): one for one in content["metrics"] if one["model"] == "base"}
    assert {path for path, _ in found} == {"plain", "homophones", "split", "emoji", "spaces"}
    assert not [one for one in content["metrics"] if one["mean_of"]]
    for path in ("homophones", "spaces"):
        lost = found["plain", "macro_f1"]["value"] - found[path, "macro_f1"]["value"]
        assert found[path, "macro_f1_lost"]["value"] == pytest.approx(lost)
    rules = next(one for one in content["sources"] if one["name"] == "COLD plain")["without_model"]
    assert rules["always harmful"]["recall_harmful"] == 1 and {"majority", "random"} < set(rules)
    tables = (tmp_path / "out" / "evaluation.md").read_text()
    assert "macro-F1: lost against plain" in tables and "F1 of harmful" in tables and "always harmful" in tables
