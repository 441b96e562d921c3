"""`redone tokenize` as a user runs it: commands, kills and bad input included."""

import gzip
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import tokenizers

from megatron_redone.formats.indexed import IndexedDataset
from tests.helpers import commands, small_tokenizer

# fmt: off
WORDS = ["ferry", "湖边", "dumplings", "café", "noodles", "好吃", "windy", "#travel", "3.5", "km", "ok！", "don't",
         "<|im_end|>", "\n"]
# fmt: on


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_tokenizer.train(tmp_path_factory.mktemp("tokenizer"))


def corpus(path: Path, megabytes: float, seed: int = 0) -> list[str]:
    """Random posts as JSON lines; returns their texts."""
    rng = random.Random(seed)
    texts, size = [], 0
    with path.open("w", encoding="utf-8") as stream:
        while size < megabytes * 1e6:
            texts.append(" ".join(rng.choices(WORDS, k=rng.randint(1, 60))).strip() or "x")
            size += stream.write(json.dumps({"text": texts[-1]}, ensure_ascii=False) + "\n")
    return texts


def command(output: Path, tokenizer: Path, *keys: str) -> list[str]:
    settings = [f"output_prefix={output}", f"tokenizer.path={tokenizer}", *keys]
    return commands.command("tokenize", *settings)


def run(output: Path, tokenizer: Path, *keys: str) -> subprocess.CompletedProcess[str]:
    return commands.to_its_end(command(output, tokenizer, *keys))


def dataset_bytes(prefix: Path) -> tuple[bytes, bytes]:
    return Path(f"{prefix}.bin").read_bytes(), Path(f"{prefix}.idx").read_bytes()


def manifest(prefix: Path) -> dict:
    return json.loads(Path(f"{prefix}.manifest.json").read_text())


def test_ids_and_order_are_those_of_the_input(tmp_path: Path, tokenizer: Path) -> None:
    texts = corpus(tmp_path / "a.jsonl", 2.5)
    done = run(tmp_path / "out/a", tokenizer, f"input={tmp_path}/a.jsonl", "shard_mb=1", "workers=2")
    assert done.returncode == 0, done.stderr
    reference = tokenizers.Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    reference.encode_special_tokens = True
    eod = reference.token_to_id("<|endoftext|>")
    dataset = IndexedDataset(tmp_path / "out/a")
    assert dataset.dtype == np.uint16 and len(dataset) == len(texts)
    for i, encoding in enumerate(reference.encode_batch(texts)):
        assert dataset[i].tolist() == [*encoding.ids, eod]
    counts = manifest(tmp_path / "out/a")["counts"]
    assert counts["records"] == counts["documents"] == len(texts) and counts["tokens"] == dataset.token_count
    names = ["a.bin", "a.bin.xxh3", "a.idx", "a.idx.xxh3", "a.manifest.json"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == names
    again = run(tmp_path / "out/a", tokenizer, f"input={tmp_path}/a.jsonl", "shard_mb=1")
    assert again.returncode == 0 and "nothing to do" in again.stderr


def test_shuffle_is_a_permutation_of_the_documents_that_the_seed_decides(tmp_path: Path, tokenizer: Path) -> None:
    corpus(tmp_path / "a.jsonl", 2.5)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    inputs = f"input=[{tmp_path}/a.jsonl,{tmp_path}/b.jsonl.gz]"
    for name, keys in {"plain": [], "one": ["shuffle=true"], "two": ["shuffle=true", "seed=2"]}.items():
        assert run(tmp_path / name, tokenizer, inputs, "shard_mb=1", *keys).returncode == 0
    run(tmp_path / "one_again", tokenizer, inputs, "shard_mb=1", "shuffle=true", "workers=1")
    assert dataset_bytes(tmp_path / "one") == dataset_bytes(tmp_path / "one_again")
    orders = [
        [d.tobytes() for d in map(IndexedDataset(tmp_path / n).__getitem__, range(5000))]
        for n in ("plain", "one", "two")
    ]
    assert orders[0] != orders[1] != orders[2]
    plain, one = IndexedDataset(tmp_path / "plain"), IndexedDataset(tmp_path / "one")
    assert sorted(plain[i].tobytes() for i in range(len(plain))) == sorted(one[i].tobytes() for i in range(len(one)))


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path: Path, tokenizer: Path, shuffle: bool) -> None:
    corpus(tmp_path / "a.jsonl", 6)
    # Without the fast path the work takes some seconds, in which it can be killed.
    keys = [f"input={tmp_path}/a.jsonl", "shard_mb=1", f"shuffle={shuffle}", "tokenizer.fast=false"]
    assert run(tmp_path / "unbroken", tokenizer, *keys, "workers=2").returncode == 0
    for kill in range(2):
        process = subprocess.Popen(command(tmp_path / "killed", tokenizer, *keys, "workers=1"), stderr=subprocess.PIPE)
        wait_for_shards(tmp_path / "killed.work", kill + 1, process)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        assert not psutil.wait_procs(workers, timeout=10)[1], "a worker outlived its parent"
        assert not Path(f"{tmp_path}/killed.bin").exists() and not Path(f"{tmp_path}/killed.idx").exists()
    done = run(tmp_path / "killed", tokenizer, *keys, "workers=2")
    assert done.returncode == 0 and "going on: " in done.stderr
    assert dataset_bytes(tmp_path / "killed") == dataset_bytes(tmp_path / "unbroken")
    assert not (tmp_path / "killed.work").exists()


def wait_for_shards(folder: Path, count: int, process: subprocess.Popen) -> None:
    for _ in range(600):
        if len(list(folder.glob("*.done.json"))) >= count:
            return
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.05)
    raise AssertionError("no shard was done in 30 s")


@pytest.mark.parametrize("content", [None, b"", b"{", b"null", b"[1]", b"\xff", b'{"work": 1}'])
def test_a_damaged_plan_begins_again(tmp_path: Path, tokenizer: Path, content: bytes | None) -> None:
    corpus(tmp_path / "a.jsonl", 0.01)
    keys = [f"input={tmp_path}/a.jsonl", "workers=1"]
    assert commands.main(*command(tmp_path / "whole", tokenizer, *keys)[3:]).returncode == 0
    work = tmp_path / "again.work"
    work.mkdir()
    for name in ("bin", "idx", "done.json", "invalid.jsonl"):
        (work / f"shard-00000.{name}").write_bytes(b"of another run")
    if content is not None:
        (work / "plan.json").write_bytes(content)
    done = commands.main(*command(tmp_path / "again", tokenizer, *keys)[3:])
    assert done.returncode == 0 and "going on" not in done.stderr, done.stderr
    assert dataset_bytes(tmp_path / "again") == dataset_bytes(tmp_path / "whole") and not work.exists()


def test_a_killed_worker_and_an_interrupt_are_told_in_one_line(tmp_path: Path, tokenizer: Path) -> None:
    corpus(tmp_path / "a.jsonl", 6)
    keys = [f"input={tmp_path}/a.jsonl", "shard_mb=1", "tokenizer.fast=false", "workers=2"]
    for culprit, message, code in [("worker", "a worker process was killed", 2), ("self", "interrupted", 130)]:
        # A test session in the background of a shell ignores SIGINT, and its children would inherit that.
        process = subprocess.Popen(
            command(tmp_path / culprit, tokenizer, *keys), stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        wait_for_shards(tmp_path / f"{culprit}.work", 1, process)
        if culprit == "worker":
            spawned = [p for p in psutil.Process(process.pid).children() if "spawn_main" in " ".join(p.cmdline())]
            os.kill(spawned[-1].pid, signal.SIGKILL)
        else:
            process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
        assert (process.returncode, message in stderr) == (code, True), stderr
        assert "Traceback" not in stderr


def test_invalid_records_are_listed_with_file_and_line(tmp_path: Path, tokenizer: Path) -> None:
    texts = corpus(tmp_path / "a.jsonl", 2.2)
    lines = (tmp_path / "a.jsonl").read_bytes().split(b"\n")[:-1]
    bad = {10: b"{", len(lines) // 2: b'{"text": "\xff"}', len(lines) - 3: b'{"text": ""}'}
    for number, line in bad.items():
        lines[number] = line
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    (tmp_path / "b.jsonl").write_text('{"body": "x"}\n{"text": "good"}\n')
    done = run(tmp_path / "out", tokenizer, f"input=[{tmp_path}/a.jsonl,{tmp_path}/b.jsonl]", "shard_mb=1")
    assert done.returncode == 0 and "4 records are invalid" in done.stderr
    listed = [json.loads(line) for line in Path(f"{tmp_path}/out.invalid.jsonl").read_text().splitlines()]
    found = [(Path(r["file"]).name, r["place"], r["reason"]) for r in listed]
    reasons = ["malformed JSON", "invalid UTF-8", "empty text"]
    expected = [("a.jsonl", number + 1, reason) for number, reason in zip(bad, reasons, strict=True)]
    assert found == [*expected, ("b.jsonl", 1, "no key 'text'")]
    counts = manifest(tmp_path / "out")["counts"]
    assert counts["invalid"] == 4 and counts["documents"] == len(texts) - 3 + 1
    assert counts["invalid_by_reason"] == dict.fromkeys([*reasons, "no key 'text'"], 1)


def test_too_many_invalid_records_stop_the_run(tmp_path: Path, tokenizer: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n' * 97 + "{\n" * 3)
    keys = [f"input={tmp_path}/a.jsonl"]
    stopped = run(tmp_path / "out", tokenizer, *keys)
    assert stopped.returncode == 2 and "3 of 100 records are invalid, more than max_invalid=0.01" in stopped.stderr
    assert not Path(f"{tmp_path}/out.idx").exists()
    assert run(tmp_path / "out", tokenizer, *keys, "max_invalid=0.03").returncode == 0


def test_other_work_under_the_same_name_is_refused(tmp_path: Path, tokenizer: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n')
    keys = [f"input={tmp_path}/a.jsonl"]
    assert run(tmp_path / "out", tokenizer, *keys).returncode == 0
    refused = run(tmp_path / "out", tokenizer, *keys, "append_eod=false")
    assert refused.returncode == 2 and "set overwrite=true" in refused.stderr
    assert run(tmp_path / "out", tokenizer, *keys, "append_eod=false", "overwrite=true").returncode == 0
    assert IndexedDataset(tmp_path / "out").token_count == 1


def test_input_without_a_single_text(tmp_path: Path, tokenizer: Path) -> None:
    (tmp_path / "a.jsonl").write_text("")
    empty = run(tmp_path / "out", tokenizer, f"input={tmp_path}/a.jsonl")
    assert empty.returncode == 2 and "not one record with a text under 'text'" in empty.stderr
