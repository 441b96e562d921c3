"""`redone evaluate` from the command line: side by side, resumed part by part, done once."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from megatron_redone.cli import main
from tests.helpers import chat_models, small_tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

USER = {"role": "user", "content": "Which is it?"}


def _jsonl(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models, and a source of every kind."""
    folder = tmp_path_factory.mktemp("inputs")
    for name, seed in {"base": 0, "tuned": 1}.items():
        chat_models.write(folder / name, seed=seed)
    _jsonl(folder / "posts.jsonl", [{"text": text} for text in small_tokenizer.TEXT] + [{"body": "x"}])
    _jsonl(folder / "wiki.jsonl", [{"text": text[::-1]} for text in small_tokenizer.TEXT])
    pairs = [{"prompt": [USER], "chosen": [{"role": "assistant", "content": good}],
              "rejected": [{"role": "assistant", "content": "or not"}]} for good in ("a", "bb", "ccc")]  # fmt: skip
    _jsonl(folder / "pairs.jsonl", pairs)
    labels = [{"messages": [USER, {"role": "assistant", "content": label}]} for label in ("joy", "anger")]
    _jsonl(folder / "labels.jsonl", labels)
    return folder


def _evaluate(inputs: Path, output: Path, caplog: pytest.LogCaptureFixture, *more: str) -> tuple[int, str]:
    keys = [
        f"output={output}",
        f"models=[{{path: {inputs}/base}}, {{path: {inputs}/tuned}}]",
        f"held_out=[{{path: {inputs}/posts.jsonl, group: social}}, {{path: {inputs}/wiki.jsonl, group: general}}]",
        f"preferences=[{{path: {inputs}/pairs.jsonl}}]",
        f"conversations=[{{path: {inputs}/labels.jsonl, capability: content_understanding, max_new_tokens: 4}}]",
        "device=cpu",
        "bootstrap.resamples=200",
    ]
    caplog.clear()
    with caplog.at_level("INFO", logger="megatron_redone"):
        code = main(["evaluate", *keys, *more])
    return code, caplog.text


@pytest.fixture
def finished(inputs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Path:
    code, _ = _evaluate(inputs, tmp_path / "out", caplog)
    assert code == 0
    return tmp_path / "out"


def test_metrics_come_from_the_models(finished: Path, inputs: Path) -> None:
    content = json.loads((finished / "evaluation.json").read_text())
    for name in ("base", "tuned"):
        model = AutoModelForCausalLM.from_pretrained(inputs / name)
        tokenizer = AutoTokenizer.from_pretrained(inputs / name)
        start = tokenizer.convert_tokens_to_ids("<|endoftext|>")
        texts = small_tokenizer.TEXT
        bits = sum(
            float(chat_models.token_losses(model, [start, *tokenizer(text, add_special_tokens=False).input_ids]).sum())
            for text in texts
        ) / float(torch.log(torch.tensor(2.0)))
        [found] = [entry for entry in content["metrics"] if (entry["model"], entry["source"]) == (name, "posts")]
        assert found["value"] == pytest.approx(bits / sum(len(text.encode()) for text in texts), rel=1e-5)
        assert found["low"] < found["value"] < found["high"]
    assert [source["examples"] for source in content["sources"]] == [4, 4, 3, 2]
    assert content["sources"][0]["invalid"] == {"no key 'text'": 1}
    invalid = json.loads((finished / "invalid.jsonl").read_text())
    assert (invalid["source"], invalid["place"], invalid["reason"]) == ("posts", 5, "no key 'text'")
    assert "Bits per byte" in (finished / "evaluation.md").read_text()


def test_a_second_run_does_nothing_but_show_the_tables(
    finished: Path, inputs: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "evaluation.json").stat().st_mtime_ns
    capsys.readouterr()
    code, said = _evaluate(inputs, finished, caplog)
    assert code == 0 and "complete already, nothing to do" in said
    assert (finished / "evaluation.json").stat().st_mtime_ns == before
    assert "General text" in capsys.readouterr().out


def test_only_the_model_that_changed_is_computed_again(
    finished: Path, inputs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = json.loads((finished / "evaluation.json").read_text())["metrics"]
    other = Path(shutil.copytree(inputs, tmp_path / "other"))
    for name in ("base", "posts.jsonl", "wiki.jsonl", "pairs.jsonl", "labels.jsonl"):
        assert (other / name).stat().st_size == (inputs / name).stat().st_size
    chat_models.write(other / "tuned", seed=2)
    models = f"models=[{{path: {inputs}/base}}, {{path: {other}/tuned}}]"
    code, said = _evaluate(inputs, finished, caplog, models)
    assert code == 0
    assert said.count("base on") == said.count("kept from before") == 4 and said.count("tuned on") == 4
    after = json.loads((finished / "evaluation.json").read_text())["metrics"]
    for old, new in zip(before, after, strict=True):
        assert old == new if old["model"] == "base" else old["value"] != new["value"] or old["kind"] != "held_out"


def test_a_killed_run_goes_on_part_by_part_and_ends_the_same(
    finished: Path, inputs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = json.loads((finished / "evaluation.json").read_text())
    (finished / "evaluation.json").unlink()
    part = finished / "examples" / "tuned" / "preferences.pairs"
    part.with_name(part.name + ".json").unlink()  # what is written last
    lines = finished / "examples" / "tuned" / "held_out.wiki.jsonl"
    lines.write_bytes(lines.read_bytes()[:200])
    code, said = _evaluate(inputs, finished, caplog)
    assert code == 0 and said.count("kept from before") == 6
    assert json.loads((finished / "evaluation.json").read_text())["metrics"] == before["metrics"]


@pytest.mark.parametrize("how", ["delete", "flip"])
@pytest.mark.parametrize(
    ("name", "recomputed"),
    [("evaluation.json", 0), ("evaluation.md", 0), ("invalid.jsonl", 0), ("examples/tuned/held_out.wiki.jsonl", 1)],
)
def test_what_is_damaged_or_gone_is_made_again(
    name: str, recomputed: int, how: str, finished: Path, inputs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = finished / name
    before = file.read_bytes()
    whole = json.loads((finished / "evaluation.json").read_text())
    if how == "delete":
        file.unlink()
    else:
        at = before.rindex(b"0") if b"0" in before else before.rindex(b"e")
        file.write_bytes(before[:at] + bytes([before[at] ^ 1]) + before[at + 1 :])
    code, said = _evaluate(inputs, finished, caplog)
    assert code == 0 and "complete already" not in said and said.count("kept from before") == 8 - recomputed
    if not name.endswith(".json"):
        assert file.read_bytes() == before
        assert f"{name.split('/')[-1]} {'is missing' if how == 'delete' else 'has other content'}" in said
    after = json.loads((finished / "evaluation.json").read_text())
    assert after["metrics"] == whole["metrics"] and after["files"] == whole["files"]


def test_new_intervals_need_no_model(finished: Path, inputs: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = json.loads((finished / "evaluation.json").read_text())["metrics"]
    code, said = _evaluate(inputs, finished, caplog, "bootstrap.confidence=0.5")
    assert code == 0 and said.count("kept from before") == 8
    after = json.loads((finished / "evaluation.json").read_text())["metrics"]
    for old, new in zip(before, after, strict=True):
        assert old["value"] == new["value"] and new["high"] - new["low"] <= old["high"] - old["low"]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("models=[]", "models: the list is empty"),
        ("models=[{path: none/here}]", "none/here: no such directory"),
        ("base=who", "base: 'who' is not the name of a model"),
        ("held_out=[{path: none.jsonl, group: social}]", "none.jsonl: no such file"),
        ("stride=4000", "stride: 4000 is not less than window=2048"),
        ("preferences=[{path: a.jsonl, name: x/y}]", "name: 'x/y' cannot be the name of a file"),
        ("conversations=[{path: a/x.jsonl, capability: c}, {path: b/x.jsonl, capability: c}]", "two are called 'x'"),
    ],
)
def test_mistakes_are_told_in_one_line(
    key: str, message: str, inputs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    code, _ = _evaluate(inputs, tmp_path, caplog, key)
    errors = capsys.readouterr().err
    assert code == 2 and errors.startswith("redone evaluate: ") and errors.count("\n") == 1 and message in errors


def test_a_folder_without_weights_is_told(
    inputs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    code, _ = _evaluate(inputs, tmp_path / "out", caplog, f"models=[{{path: {tmp_path}/empty}}]")
    assert code == 2 and "config.json: no such file" in capsys.readouterr().err
