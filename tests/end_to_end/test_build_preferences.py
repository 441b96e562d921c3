"""`redone build-preferences` on real material, from the command line and through its files."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from megatron_redone.config.build_preferences import BuildPreferencesConfig
from megatron_redone.config.loader import load_config
from megatron_redone.config.prepare_preferences import PreparePreferencesConfig
from megatron_redone.errors import UserError
from megatron_redone.formats.preferences import PreferenceDataset
from megatron_redone.stages import build_preferences, prepare_preferences
from tests.helpers import commands, shared_data
from tests.helpers.chat_server import chat_server, completion
from tests.helpers.preference_sources import write_lines

pytestmark = [shared_data.needs_shared_data, pytest.mark.usefixtures("one_thread")]

PANDALM = shared_data.FOLDER / "dpo/pandalm_a.json"
SAMPLE = shared_data.FOLDER / "bench_dev/sns_bench_sample"
SOURCE = {"input": [str(PANDALM)], "id_key": "idx", "prompt": "{instruction}\n\n{input}"}
RESPONSES = ["response1", "response2"]


def people(name: str, annotators: int, **more: Any) -> dict[str, Any]:
    labels = {"annotators": [f"annotator{i + 1}" for i in range(annotators)]}
    return {"name": name, "source": SOURCE, "responses": RESPONSES, "labels": labels, **more}


def judged(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "source": SOURCE, "responses": RESPONSES, "human": "two", **more}


def scores(path: Path, score: Callable[[dict[str, Any], int], float]) -> str:
    records = json.loads(PANDALM.read_text())
    lines = [
        {"id": record["idx"], "order": order, "scores": [score(record, number) for number in order]}
        for record in records
        for order in ([1, 2], [2, 1])
    ]
    return write_lines(path, lines)


def task(name: str, prompt: str, **more: Any) -> dict[str, Any]:
    source = {"input": [str(SAMPLE / f"Note-{name}.json")], "prompt": prompt}
    return {"name": name, "source": source, **more}


def configure(tmp_path: Path, **entries: Any) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps({"output_dir": str(tmp_path / "out"), "max_invalid": 0.1, **entries}))
    return file


def run(tmp_path: Path, *overrides: str, **entries: Any) -> Path:
    build_preferences.run(load_config(BuildPreferencesConfig, str(configure(tmp_path, **entries)), overrides))
    return tmp_path / "out"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def summary(output: Path, name: str) -> dict[str, Any]:
    return json.loads((output / f"{name}.summary.json").read_text())


def test_people_and_judges_from_the_command_line(tmp_path: Path) -> None:
    """The third annotator is a judge like the other two; the length of an answer is none."""
    third = scores(tmp_path / "third.jsonl", lambda record, number: float(record["annotator3"] == number))
    length = scores(tmp_path / "length.jsonl", lambda record, number: len(str(record[f"response{number}"])))
    entries = {
        "annotated": [people("three", 3, min_margin=0.5, min_annotators=3), people("two", 2)],
        "judged": [judged("length", scores=[length]), judged("third", scores=[third])],
    }
    arguments = ("build-preferences", "--config", str(configure(tmp_path, **entries)))
    done = commands.redone(*arguments, OMP_NUM_THREADS="1")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "length: the judge is not used: its kappa with 'two' is 0.300 over 472 pairs" in done.stderr
    output = tmp_path / "out"
    assert not (output / "length.jsonl").exists() and not (output / "length.summary.json").exists()
    assert done.stderr.count("example 3,") == 3 and "kappa 0.853" in done.stderr
    _check_three(output)
    _check_third(output)
    stamps = {path: path.stat().st_mtime_ns for path in output.glob("*.*")}
    again = commands.redone(*arguments)
    assert again.stderr.count("complete already, nothing to do") == 3
    assert stamps == {path: path.stat().st_mtime_ns for path in output.glob("*.*")}


def _check_three(output: Path) -> None:
    inter_rater = pytest.importorskip("statsmodels.stats.inter_rater")
    records = {r["idx"]: r for r in json.loads(PANDALM.read_text())}
    good = {
        idx: [r[f"annotator{i}"] for i in (1, 2, 3)]
        for idx, r in records.items()
        if all(isinstance(r[name], str) and r[name].strip() for name in RESPONSES)
    }
    kappa = inter_rater.fleiss_kappa(inter_rater.aggregate_raters(list(good.values()))[0])
    found = summary(output, "three")
    assert found["agreement"]["kappa"] == pytest.approx(kappa) and found["agreement"]["items"] == len(good)
    pairs, no_pairs = lines(output / "three.jsonl"), lines(output / "three.no_pairs.jsonl")
    assert found["counts"]["pairs"] == len(pairs) and found["counts"]["invalid"] == 500 - len(good) == 28
    assert sum(item["invalid"] for item in no_pairs) == 28 and len(pairs) + len(no_pairs) == 500
    assert sum(found["no_pair_by_reason"].values()) == len(no_pairs)
    for pair in pairs:
        record = records[int(pair["provenance"]["record"])]
        votes = [record[f"annotator{i}"] for i in (1, 2, 3)]
        better, worse = pair["provenance"]["responses"]
        assert votes.count(better) - votes.count(worse) >= 2
        assert pair["chosen"] == [{"role": "assistant", "content": record[f"response{better}"]}]
        assert pair["rejected"] == [{"role": "assistant", "content": record[f"response{worse}"]}]
        assert pair["prompt"][0]["content"] == f"{record['instruction']}\n\n{record['input']}".strip()
        assert pair["provenance"]["strategy"] == "annotated" and pair["chosen_reward"] > pair["rejected_reward"]


def _check_third(output: Path) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    records = {r["idx"]: r for r in json.loads(PANDALM.read_text())}
    measured = [r for r in records.values() if all(isinstance(r[name], str) and r[name].strip() for name in RESPONSES)]
    majority = []
    for r in measured:
        lead = [r["annotator1"], r["annotator2"]].count(1) - [r["annotator1"], r["annotator2"]].count(2)
        majority.append(1 if lead > 0 else 2 if lead < 0 else 0)
    kappa = metrics.cohen_kappa_score([r["annotator3"] for r in measured], majority)
    found = summary(output, "third")
    assert found["agreement"]["kappa"] == pytest.approx(kappa) and found["agreement"]["pairs"] == len(measured)
    for pair in lines(output / "third.jsonl"):
        record = records[int(pair["provenance"]["record"])]
        assert pair["chosen"][0]["content"] == record[f"response{record['annotator3']}"]


def test_structural_pairs_of_every_task_with_options(tmp_path: Path) -> None:
    entries = [
        task("Taxonomy-single", "{content}\n{candidates}", options={"keys": ["candidates"]}),
        task("Hashtag-single", "{content}\n{candidates}", options={"keys": ["candidates"]}, pairs_per_record=3),
        task("Hashtag-multiple", "{content}\n{candidates}", options={"keys": ["candidates"], "separator": ", "}),
        task(
            "Taxonomy-multiple",
            "{content}\n{candidates_primary}\n{candidates_secondary}\n{candidates_tertiary}",
            options={"keys": [f"candidates_{n}" for n in ("primary", "secondary", "tertiary")], "separator": " | "},
        ),
        task("QueryCorr-topic", "{content}", options={"values": ["-1", "0", "1", "2", "3"]}),
        task("QueryCorr-explain", "{sentence1}\n{sentence2}", options={"values": ["Yes", "No"]}),
        task("Gender", "{content}", options={"values": ["Yes", "No"]}),
    ]
    output = run(tmp_path, structural=entries)
    for entry in entries:
        records = json.loads((SAMPLE / f"Note-{entry['name']}.json").read_text())
        pairs = lines(output / f"{entry['name']}.jsonl")
        assert len(pairs) == len(records) * (3 if entry["name"] == "Hashtag-single" else 1)
        golds = {str(record["answer"]).strip() for record in records}
        assert {pair["chosen"][0]["content"] for pair in pairs} == golds
        assert all(pair["chosen"] != pair["rejected"] for pair in pairs)
    for pair in lines(output / "Hashtag-multiple.jsonl"):
        offered = {option.strip() for option in pair["prompt"][0]["content"].rsplit("\n", 1)[1].split(",")}
        right, wrong = (set(pair[side][0]["content"].split(", ")) for side in ("chosen", "rejected"))
        assert wrong <= offered and not wrong & right


def test_wrong_answers_of_a_real_model(tmp_path: Path, smollm2_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Drawn from SmolLM2, then the same from the files that this left; and on to token ids."""
    few = tmp_path / "few.json"
    records = json.loads((SAMPLE / "Note-QueryCorr-explain.json").read_text())
    few.write_text(json.dumps(sorted(records, key=lambda record: len(record["sentence1"]))[:3]))
    source = {"input": [str(few)], "prompt": "Is this an answer to '{sentence1}'? Say Yes or No."}
    policy = {"path": str(smollm2_folder), "max_tokens": 512, "device": "cpu"}
    entry = {"name": "drawn", "source": source, "scorer": "label", "policy": policy}
    drawn = {**entry, "sampling": {"samples": 4, "max_new_tokens": 12}}
    with caplog.at_level(logging.INFO):
        output = run(tmp_path, objective=[drawn])
    assert "answers to prompts: 3 of 3" in caplog.text
    pairs = lines(output / "drawn.jsonl")
    found = summary(output, "drawn")
    assert found["counts"]["pairs"] == len(pairs) > 0 and found["candidates"] == 12
    kept = lines(output / "drawn.policy.jsonl")
    answers = [line["answer"] for line in kept if isinstance(line["answer"], list)]
    log_probs = {line["answer"] for line in kept if not isinstance(line["answer"], list)}
    assert len(answers) == 3 and all(pair["provenance"]["rejected_log_prob"] in log_probs for pair in pairs)
    candidates = [{"id": f"few.json:{i}", "candidates": texts} for i, texts in enumerate(answers, 1)]
    from_files = {**entry, "name": "files", "candidates": [write_lines(tmp_path / "c.jsonl", candidates)]}
    run(tmp_path, objective=[from_files])
    rejected = [pair["rejected"] for pair in lines(output / "files.jsonl")]
    assert rejected == [pair["rejected"] for pair in pairs]
    prepared = [f"output_dir={tmp_path / 'prepared'}", f"tokenizer.path={smollm2_folder}"]
    sources = tmp_path / "sources.yaml"
    sources.write_text(json.dumps({"sources": [{"input": [str(output / "drawn.jsonl")], "name": "drawn"}]}))
    prepare_preferences.run(load_config(PreparePreferencesConfig, str(sources), prepared))
    dataset = PreferenceDataset.open(tmp_path / "prepared/drawn")
    assert (
        dataset.pairs == len(pairs)
        and dataset.rewards is not None
        and dataset.rewards[:, 0].tolist() == [1.0] * len(pairs)
    )


def test_a_judge_behind_a_server(tmp_path: Path) -> None:
    """The server answers as the third annotator; it fails in the middle, and the next run goes on."""
    records = [r for r in json.loads(PANDALM.read_text()) if all(isinstance(r[n], str) and r[n] for n in RESPONSES)]
    few = tmp_path / "few.json"
    few.write_text(json.dumps(records[:60]))
    by_text: dict[tuple[str, str], set[int]] = {}
    for r in records[:60]:
        for (a, b), label in (((1, 2), r["annotator3"]), ((2, 1), (0, 2, 1)[r["annotator3"]])):
            by_text.setdefault((r[f"response{a}"].strip(), r[f"response{b}"].strip()), set()).add(label)

    def as_annotator(body: dict[str, Any], number: int) -> Any:
        if failing and number > 70:
            return 500, {}, b"out of memory"
        _, first, second = body["messages"][0]["content"].split("<|>")
        label = min(by_text[first.strip(), second.strip()])
        return completion(f"Scores: {9 if label == 1 else 5} {9 if label == 2 else 5}")

    source = {**SOURCE, "input": [str(few)]}
    with chat_server(as_annotator) as server:
        endpoint = {"base_url": server.base_url, "model": "annotator3", "retries": 0, "concurrency": 4}
        endpoint["prompt"] = "{question}<|>{first}<|>{second}"
        two = {**people("two", 2), "source": source}
        entries = {"annotated": [two], "judged": [{**judged("server", endpoint=endpoint), "source": source}]}
        failing = True
        with pytest.raises(UserError, match=r"500 .*out of memory"):
            run(tmp_path, **entries)
        assert not (tmp_path / "out/server.jsonl").exists()
        asked, failing = len(server.requests), False
        output = run(tmp_path, **entries)
        assert len(server.requests) - asked <= 120 - 70
    found = summary(output, "server")
    assert found["judge"]["model"] == "annotator3" and found["agreement"]["kappa"] > 0.61
    assert found["agreement"]["pairs"] == 60 and len(lines(output / "server.jsonl")) > 30


def test_finished_pairs_are_replaced_on_demand_only(tmp_path: Path) -> None:
    output = run(tmp_path, annotated=[people("two", 2)])
    before = (output / "two.jsonl").read_bytes()
    changed = [people("two", 2, min_margin=1)]
    with pytest.raises(UserError, match=r"made from other input or settings .*overwrite=true"):
        run(tmp_path, annotated=changed)
    assert (output / "two.jsonl").read_bytes() == before
    run(tmp_path, "overwrite=true", annotated=changed)
    assert 0 < len(lines(output / "two.jsonl")) < before.count(b"\n")
    (output / "two.jsonl").unlink()
    run(tmp_path, annotated=changed)
    assert (output / "two.jsonl").is_file() and not list(output.glob("*.partial"))


@pytest.mark.parametrize("name", ["two.jsonl", "two.no_pairs.jsonl", "two.summary.json"])
def test_damaged_files_are_written_again(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    output = run(tmp_path, annotated=[people("two", 2)])
    file, before = output / name, (output / name).read_bytes()
    file.write_bytes(before.replace(b"e", b"f", 1))
    with caplog.at_level(logging.INFO):
        run(tmp_path, annotated=[people("two", 2)])
        assert file.read_bytes() == before and "the work is done again" in caplog.text
        run(tmp_path, annotated=[people("two", 2)])
    assert "complete already, nothing to do" in caplog.text


def test_too_many_invalid_records_stop_the_run_and_are_kept(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"28 of 500 records are invalid, more than max_invalid=0\.05"):
        run(tmp_path, "max_invalid=0.05", annotated=[people("two", 2)])
    output = tmp_path / "out"
    assert sum(item["invalid"] for item in lines(output / "two.no_pairs.jsonl")) == 28
    assert not (output / "two.jsonl").exists() and not (output / "two.summary.json").exists()


def test_no_pair_at_all_is_a_mistake(tmp_path: Path) -> None:
    ties = write_lines(tmp_path / "ties.jsonl", [{"q": "?", "a": "x", "b": "y", "annotator1": 0}] * 3)
    entry = {"source": {"input": [ties], "prompt": "{q}"}, "responses": ["a", "b"]}
    with pytest.raises(UserError, match=r"one: not one pair came of 3 records \(3 x a tie\)"):
        run(tmp_path, annotated=[{**people("one", 1), **entry}])
