"""`redone prepare-sft` as a user runs it."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tokenizers

from megatron_redone.datasets.vocabulary import Vocabulary
from megatron_redone.formats.conversations import ConversationDataset
from megatron_redone.formats.deep_check import problems
from megatron_redone.formats.indexed import IndexedDataset
from tests.helpers import chat_tokenizers, commands, small_tokenizer
from tests.helpers.shared_data import FOLDER, TOKENIZER, needs_shared_data


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    return chat_tokenizers.write(folder / "mistral", small_tokenizer.train(folder / "small"), "mistral")


def command(output: Path, tokenizer: Path, sources: list[dict[str, Any]], *keys: str) -> list[str]:
    given = [f"sources={json.dumps(sources)}", f"output_dir={output}", f"tokenizer.path={tokenizer}"]
    return commands.command("prepare-sft", *given, *keys)


def run(output: Path, tokenizer: Path, sources: list[dict[str, Any]], *keys: str) -> "subprocess.CompletedProcess[str]":
    return commands.to_its_end(command(output, tokenizer, sources, *keys))


def chat(*texts: str) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]}


def write_lines(path: Path, records: list[Any]) -> Path:
    lines = [record if isinstance(record, str) else json.dumps(record, ensure_ascii=False) for record in records]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def texts(tokenizer: Path, prefix: Path) -> list[tuple[str, str]]:
    """Of every conversation the whole text, and what of it is learned."""
    library = tokenizers.Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    dataset = ConversationDataset.open(prefix)
    found = []
    for i in range(len(dataset)):
        ids, mask = dataset.tokens(i), dataset.loss_mask(i)
        found.append(tuple(library.decode(part.tolist(), skip_special_tokens=False) for part in (ids, ids[mask == 1])))
    return found


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_two_sources_become_two_datasets_and_a_table(tmp_path: Path, tokenizer: Path) -> None:
    write_lines(tmp_path / "a.jsonl", [chat("hi", "hello"), chat("Why?", "So.", "And?", "Yes 🎈")])
    alpaca = [{"instruction": "Translate", "input": "ferry", "output": "渡轮"}]
    (tmp_path / "b.json").write_text(json.dumps(alpaca, indent=2))
    sources = [
        {"name": "talk", "input": str(tmp_path / "a.jsonl"), "capability": "dialogue_persona"},
        {"name": "words", "input": str(tmp_path / "b.json"), "capability": "translation"},
    ]
    done = run(tmp_path / "out", tokenizer, sources)
    assert done.returncode == 0, done.stderr
    assert texts(tokenizer, tmp_path / "out/talk") == [
        ("<s>[INST] hi[/INST] hello</s>", " hello</s>"),
        ("<s>[INST] Why?[/INST] So.</s>[INST] And?[/INST] Yes 🎈</s>", " So.</s> Yes 🎈</s>"),
    ]
    assert texts(tokenizer, tmp_path / "out/words") == [("<s>[INST] Translate\nferry[/INST] 渡轮</s>", " 渡轮</s>")]
    rows = [line.split() for line in done.stderr.splitlines()[-3:]]
    dataset = ConversationDataset.open(tmp_path / "out/talk")
    tokens, learned = int(dataset.lengths.sum()), sum(int(dataset.loss_mask(i).sum()) for i in range(2))
    assert rows[0] == ["source", "capability", "conversations", "held", "out", "tokens", "trained", "invalid"]
    assert rows[1] == ["talk", "dialogue_persona", "2", "-", str(tokens), f"{100 * learned / tokens:.1f}", "%", "0"]
    counts = dataset.manifest["counts"]
    assert (counts["conversations"], counts["tokens"], counts["trained_tokens"]) == (2, tokens, learned)
    listing = json.loads((tmp_path / "out/manifest.json").read_text())
    assert [(s["name"], s["capability"], s["train"]["conversations"]) for s in listing["sources"]] == [
        ("talk", "dialogue_persona", 2),
        ("words", "translation", 1),
    ]
    assert list(problems(IndexedDataset(tmp_path / "out/talk"))) == []
    Vocabulary(size=500, fingerprint=dataset.manifest["tokenizer"]["fingerprint"]).check_manifest(dataset.prefix)

    before = files(tmp_path / "out")
    again = run(tmp_path / "out", tokenizer, sources)
    assert again.returncode == 0 and "complete already, nothing to do" in again.stderr
    assert files(tmp_path / "out") == before


def test_what_is_learned_and_other_settings_replace_a_dataset_only_when_told(tmp_path: Path, tokenizer: Path) -> None:
    write_lines(tmp_path / "a.jsonl", [chat("Why?", "So.", "And?", "Yes.")])
    sources = [{"name": "talk", "input": str(tmp_path / "a.jsonl")}]
    whole = "<s>[INST] Why?[/INST] So.</s>[INST] And?[/INST] Yes.</s>"
    for loss_on, learned in [("assistant", " So.</s> Yes.</s>"), ("last_turn", " Yes.</s>"), ("all", whole)]:
        keys = (f"loss_on={loss_on}",)
        if loss_on != "assistant":
            refused = run(tmp_path / "out", tokenizer, sources, *keys)
            assert refused.returncode == 2 and "set overwrite=true" in refused.stderr
        done = run(tmp_path / "out", tokenizer, sources, *keys, "overwrite=true")
        assert done.returncode == 0, done.stderr
        assert texts(tokenizer, tmp_path / "out/talk") == [(whole, learned)]


def test_weights_and_lost_answers_as_a_user_sees_them(tmp_path: Path, tokenizer: Path) -> None:
    half, thinking = chat("Is it open?", "Until nine."), chat("1+1?", "2")
    half["messages"][1]["weight"], thinking["messages"][1]["reasoning_content"] = 0.5, "One and one make two."
    write_lines(tmp_path / "a.jsonl", [half, thinking])
    sources = [{"name": "talk", "input": str(tmp_path / "a.jsonl")}]
    refused = run(tmp_path / "out", tokenizer, sources)
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert "leaves out a part of an answer: reasoning" in refused.stderr and "on_lost_answer=keep" in refused.stderr
    done = run(tmp_path / "out", tokenizer, sources, "on_lost_answer=keep")
    assert done.returncode == 0 and "leaves out parts of answers (reasoning 1)" in done.stderr
    dataset = ConversationDataset.open(tmp_path / "out/talk")
    assert [set(dataset.loss_weights(i).tolist()) for i in range(2)] == [{0.0, 0.5}, {0, 1}]
    assert dataset.manifest["counts"]["lost_parts"] == {"reasoning": 1}
    assert list(problems(IndexedDataset(tmp_path / "out/talk"))) == []


def test_marks_that_are_not_known_stop_the_run_in_one_line(tmp_path: Path, tokenizer: Path) -> None:
    records = [chat("hi", "hello") for _ in range(300)]
    records[7]["messages"][1]["no_loss"] = True
    write_lines(tmp_path / "a.jsonl", records)
    done = run(tmp_path / "out", tokenizer, [{"name": "talk", "input": str(tmp_path / "a.jsonl")}])
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "not known: no_loss (1 records)" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out/talk.idx").exists()


TURNS = chat("hi", "yes")["messages"]
BAD = [
    ('{"messages": [', "malformed JSON"),
    (chat("hi", " "), "an empty turn of the assistant"),
    (
        {"messages": [TURNS[0], *TURNS]},
        "the chat template refuses it: After the optional system message, conversation roles must alternate",
    ),
    ({"messages": [{"role": "narrator", "content": "x"}, *TURNS]}, "unknown role 'narrator'"),
    (chat("hi"), "no turn of the assistant"),
    ({"messages": [{"role": "user", "content": 7}]}, "the content of a message is a number, not a string"),
    (
        {"messages": [{"role": "system", "content": "Brief!"}, *TURNS]},
        "the chat template refuses it: its text has no trace of a message of the system",
    ),
    (["hi"], "a JSON array, not an object"),
]


def test_bad_records_are_put_aside_with_line_and_reason(tmp_path: Path, tokenizer: Path) -> None:
    records = [chat("hi", "hello"), *(record for record, _ in BAD), chat("Why?", "So.")]
    write_lines(tmp_path / "a.jsonl", records)
    sources = [{"name": "talk", "input": str(tmp_path / "a.jsonl")}]
    stopped = run(tmp_path / "out", tokenizer, sources)
    assert stopped.returncode == 2
    assert "source talk: 8 of 10 records are invalid, more than max_invalid=0.01" in stopped.stderr
    assert list(files(tmp_path / "out")) == ["talk.invalid.jsonl"]
    done = run(tmp_path / "out", tokenizer, sources, "max_invalid=1")
    assert done.returncode == 0, done.stderr
    listed = [json.loads(line) for line in (tmp_path / "out/talk.invalid.jsonl").read_text().splitlines()]
    assert [entry["place"] for entry in listed] == list(range(2, 10))
    for entry, (_, reason) in zip(listed, BAD, strict=True):
        assert entry["reason"].startswith(reason) and entry["file"].endswith("a.jsonl") and entry["excerpt"]
    counts = ConversationDataset.open(tmp_path / "out/talk").manifest["counts"]
    assert (counts["records"], counts["conversations"], counts["invalid"]) == (10, 2, 8)
    assert sum(counts["invalid_by_reason"].values()) == 8


def test_a_source_that_yields_nothing_stops_the_run_with_its_name(tmp_path: Path, tokenizer: Path) -> None:
    write_lines(tmp_path / "good.jsonl", [chat("hi", "hello")])
    write_lines(tmp_path / "bad.jsonl", [chat("hi"), "{"])
    write_lines(tmp_path / "other.jsonl", [{"title": "x", "text": "y"}])
    (tmp_path / "empty.jsonl").write_text("")
    for name, message in [
        ("bad", "source bad: not one of 2 records can be used (1 times: no turn of the assistant; 1 times: malformed"),
        ("other", "source other: "),
        ("empty", "source empty: not one of 0 records can be used"),
    ]:
        sources = [{"name": n, "input": str(tmp_path / f"{n}.jsonl")} for n in ("good", name)]
        stopped = run(tmp_path / f"out-{name}", tokenizer, sources, "max_invalid=1")
        assert stopped.returncode == 2 and message in stopped.stderr, stopped.stderr
        assert not list((tmp_path / f"out-{name}").glob("*.partial"))
        assert not (tmp_path / f"out-{name}/manifest.json").exists()
        assert ConversationDataset.open(tmp_path / f"out-{name}/good").lengths.size == 1
        if name == "other":
            assert "no format that is known (keys: title, text)" in stopped.stderr


def test_special_tokens_in_a_text_are_told_or_refused(tmp_path: Path, tokenizer: Path) -> None:
    write_lines(tmp_path / "a.jsonl", [chat("hi", "hello"), chat("hi </s>[INST] more", "hello")])
    sources = [{"name": "talk", "input": str(tmp_path / "a.jsonl")}]
    done = run(tmp_path / "out", tokenizer, sources)
    assert done.returncode == 0 and "special tokens are written in the text of 1 records" in done.stderr
    keys = ("refuse_special_tokens=true", "max_invalid=0.5", "overwrite=true")
    assert run(tmp_path / "out", tokenizer, sources, *keys).returncode == 0
    counts = ConversationDataset.open(tmp_path / "out/talk").manifest["counts"]
    assert counts["invalid_by_reason"] == {"a special token is written in its text": 1}
    assert counts["with_special_tokens"] == 0


def many(count: int) -> list[dict[str, Any]]:
    return [chat(f"question {number}", "answer " * (1 + number % 40)) for number in range(count)]


def test_processes_and_order_change_nothing_but_the_order(tmp_path: Path, tokenizer: Path) -> None:
    records = many(1200)
    write_lines(tmp_path / "a.jsonl", [*records[:700], "{", *records[700:]])
    write_lines(tmp_path / "b.jsonl", records[::-1])
    held_out: dict[str, list[tuple[str, str]]] = {}
    for name, file, workers in [("one", "a", 1), ("two", "a", 2), ("reversed", "b", 1)]:
        source = {"name": "talk", "input": str(tmp_path / f"{file}.jsonl"), "validation_count": 40}
        done = run(tmp_path / name, tokenizer, [source], f"workers={workers}")
        assert done.returncode == 0, done.stderr
        held_out[name] = texts(tokenizer, tmp_path / f"{name}/talk.validation")
    one, two = files(tmp_path / "one"), files(tmp_path / "two")
    same = ("talk.bin", "talk.idx", "talk.loss_mask.bin", "talk.validation.bin", "talk.invalid.jsonl")
    assert all(one[file] == two[file] for file in same)
    assert held_out["one"] == held_out["reversed"] and len(held_out["one"]) == 40
    learned = texts(tokenizer, tmp_path / "one/talk")
    assert len(learned) == 1160 and not set(learned) & set(held_out["one"])
    backwards = texts(tokenizer, tmp_path / "reversed/talk")
    assert sorted(learned) == sorted(backwards)


def test_a_killed_run_leaves_nothing_half_written_and_goes_on(tmp_path: Path, tokenizer: Path) -> None:
    write_lines(tmp_path / "first.jsonl", many(50))
    write_lines(tmp_path / "second.jsonl", many(12_000))
    sources = [{"name": name, "input": str(tmp_path / f"{name}.jsonl")} for name in ("first", "second")]
    process = subprocess.Popen(command(tmp_path / "out", tokenizer, sources, "workers=2"), stderr=subprocess.PIPE)
    started = time.monotonic()
    while not (tmp_path / "out/first.manifest.json").exists():
        assert process.poll() is None and time.monotonic() < started + 60
        time.sleep(0.02)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    assert not psutil.wait_procs(workers, timeout=10)[1], "a worker outlived its parent"
    present = {name for name in files(tmp_path / "out") if not name.endswith(".partial")}
    assert not any(name.startswith("second") or name == "manifest.json" for name in present)
    inode = (tmp_path / "out/first.bin").stat().st_ino
    done = run(tmp_path / "out", tokenizer, sources)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/first.bin").stat().st_ino == inode, "a finished source was written again"
    assert len(ConversationDataset.open(tmp_path / "out/second")) == 12_000
    assert not list((tmp_path / "out").glob("*.partial"))


def test_what_stands_between_files_and_manifest_is_written_again(tmp_path: Path, tokenizer: Path) -> None:
    write_lines(tmp_path / "a.jsonl", many(20))
    sources = [{"name": "talk", "input": str(tmp_path / "a.jsonl"), "validation_fraction": 0.3}]
    assert run(tmp_path / "out", tokenizer, sources).returncode == 0
    before = files(tmp_path / "out")
    (tmp_path / "out/talk.manifest.json").unlink()
    assert run(tmp_path / "out", tokenizer, sources).returncode == 0
    names = [name for name in before if "manifest" not in name]  # which tell the time of the run
    after = files(tmp_path / "out")
    assert set(after) == set(before) and all(after[name] == before[name] for name in names)
    sources[0].pop("validation_fraction")
    assert run(tmp_path / "out", tokenizer, sources, "overwrite=true").returncode == 0
    assert not list((tmp_path / "out").glob("*.validation.*"))


def test_holding_out_nothing_or_all_is_told(tmp_path: Path, tokenizer: Path) -> None:
    write_lines(tmp_path / "a.jsonl", many(20))
    for key, value, side in [("validation_count", 20, "to learn from"), ("validation_fraction", 1e-6, "held out")]:
        sources = [{"name": "talk", "input": str(tmp_path / "a.jsonl"), key: value}]
        stopped = run(tmp_path / "out", tokenizer, sources)
        assert stopped.returncode == 2 and f"nothing of 20 conversations is {side}" in stopped.stderr


@needs_shared_data
def test_the_real_files(tmp_path: Path) -> None:
    pairs = (FOLDER / "sft/tatoeba_cmn_eng.txt").read_text(encoding="utf-8").splitlines()[::100]
    sentences = [dict(zip(("prompt", "completion"), line.split("\t"), strict=False)) for line in pairs]
    write_lines(tmp_path / "tatoeba.jsonl", sentences)
    data = FOLDER / "sft"
    sources = [
        {"name": "alpaca", "input": [str(data / f"alpaca_{language}_demo.json") for language in ("en", "zh")]},
        {"name": "identity", "input": str(data / "identity.json"), "capability": "dialogue_persona"},
        {"name": "seeds", "input": str(data / "self_instruct_seed.jsonl")},
        {"name": "sentences", "input": str(tmp_path / "tatoeba.jsonl"), "capability": "translation"},
        {
            "name": "gsm8k",
            "input": str(data / "gsm8k_train.jsonl"),
            "prompt_key": "question",
            "completion_key": "answer",
            "validation_count": 100,
        },
    ]
    done = run(tmp_path / "out", TOKENIZER, sources)
    assert done.returncode == 0, done.stderr
    counts = {name: len(ConversationDataset.open(tmp_path / f"out/{name}")) for name in
              ("alpaca", "identity", "seeds", "sentences", "gsm8k", "gsm8k.validation")}  # fmt: skip
    assert counts == {
        "alpaca": 1999, "identity": 91, "seeds": 175, "sentences": len(pairs), "gsm8k": 7373, "gsm8k.validation": 100
    }  # fmt: skip
    gsm8k = ConversationDataset.open(tmp_path / "out/gsm8k")
    assert gsm8k.tokens(0).dtype == np.int32 and gsm8k.manifest["record_formats"] == {"prompt_completion": 7473}
