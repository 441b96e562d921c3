"""`redone curate` on small corpora: nothing gets lost, and the same documents survive whatever happens on the way."""

import gzip
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("datatrove")

from megatron_redone.config.curate import CurateConfig
from megatron_redone.config.loader import load_config
from megatron_redone.errors import UserError
from megatron_redone.stages import curate

_SENTENCE = (
    "lake ferry dumplings noodles windy museum ticket friday rain bicycle harbour lantern garden orange quiet crowd "
    "bridge window kettle summer letter market planet violin copper thunder meadow basket river station"
)
WORDS = _SENTENCE.split()
HAN = "湖边晚风吃面条周末去哪里走走天气真好看电影排队买票下雨骑车港口灯笼花园橙子安静人群桥窗水壶夏天信市场"

Record = dict[str, Any]


def sentence(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(WORDS, k=words))


def chinese(rng: random.Random, characters: int) -> str:
    return "".join(rng.choices(HAN, k=characters))


def corpus(folder: Path, posts: int = 400, seed: int = 0) -> dict[str, list[Record]]:
    """Posts with comments and dirt, and general texts; every record has an id."""
    rng = random.Random(seed)
    social: list[Record] = []
    for i in range(posts):
        text = sentence(rng, rng.randint(8, 40)) if i % 2 else chinese(rng, rng.randint(12, 80))
        record: Record = {"id": f"s{i}", "text": text}
        if i % 5 == 0:
            record["comments"] = [{"text": sentence(rng, 6), "author": rng.choice("xyz")} for _ in range(3)]
            record["comments"][0]["replies"] = ["加微信 abc_000000 了解", "<br>"]
        social.append(record)
    for i, dirt in enumerate(
        ["短", "扣扣990000000001 低价", "😂" * 9, "https://example.com/a", "<br>&nbsp;", "再 " * 30]
    ):
        social.insert(i * 7, {"id": f"dirt{i}", "text": dirt, "comments": ["<p></p>"] if i == 4 else []})
    without_comments = [record for record in social if record["id"].startswith("s") and "comments" not in record]
    for i, record in enumerate(without_comments[: posts // 20]):
        social.append({"id": f"copy{i}", "text": f"RT @someone: {record['text']}"})
    general = [{"id": f"g{i}", "text": sentence(rng, 120)} for i in range(posts // 10)]
    folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(folder / "social.jsonl", social)
    write_jsonl(folder / "general.jsonl", general)
    return {"social": social, "general": general}


def write_jsonl(path: Path, records: list[Record]) -> None:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")


def read_jsonl(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def config(source: Path, output: Path, *keys: str) -> CurateConfig:
    sources = (
        f"sources=[{{name: social, input: {source}/social.jsonl}},"
        f"{{name: general, input: {source}/general.jsonl, kind: general}}]"
    )
    return load_config(CurateConfig, None, [sources, f"output_dir={output}", "workers=1", *keys])


def one_source(path: Path, output: Path, *keys: str) -> CurateConfig:
    sources = f"sources=[{{name: posts, input: {path}}}]"
    return load_config(CurateConfig, None, [sources, f"output_dir={output}", "workers=1", *keys])


def result(output: Path) -> dict[str, bytes]:
    """The records of a result, all files but those that name paths."""
    return {str(p.relative_to(output)): p.read_bytes() for p in sorted(output.rglob("*.jsonl"))}


def ids(paths: Iterator[Path]) -> list[str]:
    return [record["id"] for path in paths for record in read_jsonl(path)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    corpus(folder)
    return folder


@pytest.fixture(scope="module")
def curated(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("curated")
    curate.run(config(source, output, "held_out.fraction=0.1", "tasks=1"))
    return output


def test_every_record_is_in_exactly_one_place(source: Path, curated: Path) -> None:
    for name in ("social", "general"):
        given = ids(iter([source / f"{name}.jsonl"]))
        kept = ids(iter([curated / f"{name}.jsonl", curated / "held_out" / f"{name}.jsonl"]))
        dropped = ids(path for path in curated.glob(f"dropped/*/{name}.jsonl") if "comments" not in str(path))
        assert sorted(kept + dropped) == sorted(given)
        assert kept


def test_the_funnel_agrees_with_the_files(curated: Path) -> None:
    funnel = json.loads((curated / "funnel.json").read_text())
    assert not funnel["tokens_counted"]
    for row in funnel["rows"]:
        path = curated / "dropped" / row["step"] / f"{row['source']}.jsonl"
        assert row["dropped"]["documents"] == (len(read_jsonl(path)) if path.exists() else 0)
        if row["step"] == "held_out":
            kept = read_jsonl(curated / f"{row['source']}.jsonl")
            assert row["left"]["documents"] == len(kept)
            assert row["left"]["characters"] == sum(len(record["text"]) for record in kept)
            assert row["left"]["comments"] == sum(record.get("comments", 0) for record in kept)


def test_dirt_is_dropped_for_its_reason(curated: Path) -> None:
    dropped = {
        (path.parent.name, record["id"]): record["reason"]
        for path in curated.glob("dropped/*/social.jsonl")
        for record in read_jsonl(path)
    }
    assert dropped["clean", "dirt4"] == "nothing left"
    assert dropped["advertising", "dirt1"] == "qq account"
    assert dropped["advertising", "dirt3"] == "little but links"
    assert dropped["repetition", "dirt2"] == "emoji"
    assert dropped["repetition", "dirt5"] == "one word or character"
    assert dropped["length", "dirt0"] == "too short"
    assert [step for step, name in dropped if name.startswith("copy")] == ["exact"] * 20
    comments = read_jsonl(curated / "dropped/advertising_comments/social.jsonl")
    assert len(comments) == 80 and {record["reason"] for record in comments} == {"wechat account"}
    assert all(record["text"].startswith("加微信") for record in comments)
    assert not any("加微信" in record["text"] for record in read_jsonl(curated / "social.jsonl"))


def test_survivors_do_not_depend_on_tasks(source: Path, curated: Path, tmp_path: Path) -> None:
    for tasks, workers in ((3, 2), (5, 1)):
        output = tmp_path / f"{tasks}"
        curate.run(config(source, output, "held_out.fraction=0.1", f"tasks={tasks}", f"workers={workers}"))
        assert result(output) == result(curated)
        assert json.loads((output / "funnel.json").read_text()) == json.loads((curated / "funnel.json").read_text())


def test_a_second_call_does_nothing(source: Path, curated: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = {path: path.stat().st_mtime_ns for path in curated.rglob("*")}
    with caplog.at_level("INFO"):
        curate.run(config(source, curated, "held_out.fraction=0.1", "tasks=4", "workers=2"))
    assert "complete already, nothing to do" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in curated.rglob("*")} == before


def test_another_result_is_replaced_only_if_asked(tmp_path: Path) -> None:
    corpus(tmp_path / "in", posts=40)
    first = config(tmp_path / "in", tmp_path / "out", "output=shards", "deduplicate=exact")
    curate.run(first)
    shards = list((tmp_path / "out/social").glob("*.jsonl.gz"))
    assert len(gzip.open(shards[0], "rt").readlines()) == 39
    other = ["deduplicate=none", "held_out.fraction=0"]
    with pytest.raises(UserError, match="set overwrite=true"):
        curate.run(config(tmp_path / "in", tmp_path / "out", *other))
    curate.run(config(tmp_path / "in", tmp_path / "out", *other, "overwrite=true"))
    assert len(read_jsonl(tmp_path / "out/social.jsonl")) == 42
    assert not shards[0].exists()


def test_a_killed_run_goes_on(source: Path, curated: Path, tmp_path: Path) -> None:
    keys = ["held_out.fraction=0.1", "tasks=4", "workers=1"]
    whole = config(source, tmp_path / "out", *keys)
    (tmp_path / "run.yaml").write_text(_yaml(whole))
    command = [sys.executable, "-m", "megatron_redone", "curate", "--config", str(tmp_path / "run.yaml")]
    plan = tmp_path / "out/work/plan.json"
    kills = 0
    for done in (0, 1, 3, 6, 10, 15):  # of 20 tasks; 0 is a plan that has just been made
        process = subprocess.Popen(
            command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and (_tasks_done(tmp_path / "out/work") < done or not plan.exists()):
            time.sleep(0.005)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr
    assert "datatrove" not in finished.stderr
    assert kills >= 2, "the run was hardly ever killed at work"
    assert result(tmp_path / "out") == result(curated)
    assert not (tmp_path / "out/work").exists()


def _tasks_done(work: Path) -> int:
    return len(list(work.glob("logs/*/completions/*")))


def test_nothing_outlives_a_killed_command(tmp_path: Path) -> None:
    corpus(tmp_path / "in", posts=20_000)
    (tmp_path / "run.yaml").write_text(_yaml(config(tmp_path / "in", tmp_path / "out", "tasks=4", "workers=2")))
    process = subprocess.Popen([sys.executable, "-m", "megatron_redone", "curate", "--config", tmp_path / "run.yaml"])
    running = tmp_path / "out/work/running"
    while not (running.is_dir() and len(list(running.iterdir())) == 2):
        assert process.poll() is None
        time.sleep(0.05)
    others = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    assert len(others) >= 3 and not psutil.wait_procs(others, timeout=20)[1]


def test_a_killed_process_ends_the_run_and_says_so(tmp_path: Path) -> None:
    corpus(tmp_path / "in", posts=20_000)
    (tmp_path / "run.yaml").write_text(_yaml(config(tmp_path / "in", tmp_path / "out", "tasks=4", "workers=2")))
    command = [sys.executable, "-m", "megatron_redone", "curate", "--config", str(tmp_path / "run.yaml")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    running = tmp_path / "out/work/running"
    while not (running.is_dir() and (at_work := [int(path.name) for path in running.iterdir()])):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    assert process.pid not in at_work
    os.kill(at_work[0], signal.SIGKILL)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "a worker process was killed, perhaps for want of memory" in output


_SBATCH = """#!/usr/bin/env bash
# Stands in for Slurm: runs the tasks of a job array one after the other, at once.
script="${@: -1}"
echo "Submitted batch job $$"
grep -q merge_stats "$script" && exit
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$script")
for task in $(seq 0 "$last"); do
  SLURM_ARRAY_TASK_ID=$task RUN_OFFSET=0 SLURM_NODELIST=localhost bash "$script" >&2 || exit 1
done
"""


def test_slurm_jobs_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through datatrove's job scripts and pickles; only Slurm's own commands are replaced."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in {
        "sbatch": _SBATCH,
        "srun": '#!/usr/bin/env bash\nshift 3\nexec "$@"\n',  # srun -l -n 1 COMMAND
        "scontrol": "#!/usr/bin/env bash\necho localhost\n",
    }.items():
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    corpus(tmp_path / "in", posts=60)
    keys = ["deduplicate=none", "held_out.fraction=0", "tasks=2"]
    curate.run(config(tmp_path / "in", tmp_path / "here", *keys))
    jobs = config(tmp_path / "in", tmp_path / "there", *keys, "executor=slurm", "slurm.partition=any")
    curate.run(jobs)
    assert (tmp_path / "there/manifest.json").exists()
    curate.run(jobs)  # takes away what the jobs have left
    assert result(tmp_path / "there") == result(tmp_path / "here")
    assert not (tmp_path / "there/work").exists()


def _yaml(whole: CurateConfig) -> str:
    from megatron_redone.config.loader import to_yaml

    return to_yaml(whole)


def test_near_duplicates_go_and_others_stay(tmp_path: Path) -> None:
    """Copies with growing edits; the oracle is the exact Jaccard similarity of sets of five words."""
    rng = random.Random(1)
    originals = [rng.choices(WORDS, k=100) for _ in range(60)]
    edited = []
    for words in originals:
        copy = list(words)
        for position in rng.sample(range(100), rng.choice([1, 1, 2, 40, 60])):
            copy[position] = "edit" + str(position)
        edited.append(copy)
    records = [{"id": str(i), "text": " ".join(words)} for i, words in enumerate([*originals, *edited])]
    write_jsonl(tmp_path / "posts.jsonl", records)
    curate.run(one_source(tmp_path / "posts.jsonl", tmp_path / "out", "held_out.fraction=0"))
    kept = set(ids(iter([tmp_path / "out/posts.jsonl"])))
    assert kept >= {str(i) for i in range(60)}, "an original went in place of its copy"
    alike = [jaccard(a, b) for a, b in zip(originals, edited, strict=True)]
    assert min(alike) < 0.1 and max(alike) > 0.9
    for i, similarity in enumerate(alike):
        if similarity > 0.85:
            assert str(60 + i) not in kept
        if similarity < 0.3:
            assert str(60 + i) in kept


def jaccard(a: list[str], b: list[str], size: int = 5) -> float:
    left, right = ({tuple(words[i : i + size]) for i in range(len(words) - size + 1)} for words in (a, b))
    return len(left & right) / len(left | right)


def test_short_documents_do_not_collapse(tmp_path: Path) -> None:
    """Those that are too short for one shingle are compared as a whole; datatrove's users lost them."""
    short = [f"{a} {b}" for a in WORDS for b in WORDS if a != b][:300]
    emoji = ["好好好好😂", "好好好好！", "好好好好？", "好好好好"]
    texts = [*short, *emoji, *short[:50]]
    write_jsonl(tmp_path / "posts.jsonl", [{"id": str(i), "text": text} for i, text in enumerate(texts)])
    curate.run(
        one_source(tmp_path / "posts.jsonl", tmp_path / "out", "held_out.fraction=0", "length.min_social=5", "tasks=2")
    )
    assert [record["text"] for record in read_jsonl(tmp_path / "out/posts.jsonl")] == short + emoji
    assert ids(iter([tmp_path / "out/dropped/exact/posts.jsonl"])) == [str(304 + i) for i in range(50)]


@pytest.mark.parametrize("deduplicate", ["none", "exact", "minhash"])
def test_nothing_like_a_held_out_document_is_trained_on(tmp_path: Path, deduplicate: str) -> None:
    rng = random.Random(2)
    originals = [rng.choices(WORDS, k=60) for _ in range(120)]
    texts = [" ".join(words) for words in originals]
    near = [" ".join([*words[:50], "another", "end", str(i)]) for i, words in enumerate(originals)]
    copies = [text.upper() for text in texts]
    records = [{"id": str(i), "text": text} for i, text in enumerate([*texts, *near, *copies])]
    write_jsonl(tmp_path / "posts.jsonl", records)
    keys = ["held_out.fraction=0.2", f"deduplicate={deduplicate}"]
    curate.run(one_source(tmp_path / "posts.jsonl", tmp_path / "out", *keys))
    held_out = [record["text"].lower().split() for record in read_jsonl(tmp_path / "out/held_out/posts.jsonl")]
    training = [record["text"].lower().split() for record in read_jsonl(tmp_path / "out/posts.jsonl")]
    assert len(held_out) > 10 and len(training) > 60
    assert max(jaccard(a, b) for a in held_out for b in training) < 0.5


def test_what_is_held_out_stays_so_when_the_source_grows(tmp_path: Path) -> None:
    rng = random.Random(3)
    records = [{"id": str(i), "text": sentence(rng, 30)} for i in range(600)]
    held_out = []
    for number in (300, 600):
        write_jsonl(tmp_path / f"{number}.jsonl", records[:number])
        keys = ["held_out.fraction=0.1", "held_out.max_documents=500", "deduplicate=none"]
        curate.run(one_source(tmp_path / f"{number}.jsonl", tmp_path / f"out{number}", *keys))
        held_out.append(set(ids(iter([tmp_path / f"out{number}/held_out/posts.jsonl"]))))
    assert held_out[0] == {name for name in held_out[1] if int(name) < 300}
    assert 15 < len(held_out[0]) < 45
    keys = ["held_out.fraction=0.1", "held_out.max_documents=7", "deduplicate=none"]
    curate.run(one_source(tmp_path / "600.jsonl", tmp_path / "few", *keys))
    few = set(ids(iter([tmp_path / "few/held_out/posts.jsonl"])))
    assert len(few) == 7 and few < held_out[1]


def test_invalid_records_are_kept_with_their_reasons(tmp_path: Path) -> None:
    good = [json.dumps({"id": str(i), "text": sentence(random.Random(i), 20)}) for i in range(200)]
    bad = ["{", "[1]", '{"text": 3}', '{"title": ""}', ""]
    half_emoji = '{"id": "half", "text": "an emoji cut in half \\ud83d is no text"}'
    (tmp_path / "posts.jsonl").write_text("\n".join([*good[:90], *bad, half_emoji, *good[90:]]) + "\n")
    path = tmp_path / "posts.jsonl"
    path.write_bytes(path.read_bytes() + b'{"text": "\xff\xfe"}\n')
    with pytest.raises(UserError, match=r"7 of 207 records are invalid, more than max_invalid=0\.01"):
        curate.run(one_source(path, tmp_path / "out", "held_out.fraction=0"))
    keys = ["held_out.fraction=0", "deduplicate=none", "max_invalid=0.1"]
    curate.run(one_source(path, tmp_path / "out", *keys))
    assert len(read_jsonl(tmp_path / "out/posts.jsonl")) == 200
    reasons = sorted(record["reason"] for record in read_jsonl(tmp_path / "out/dropped/read/posts.jsonl"))
    assert reasons == sorted(
        [
            "malformed JSON",
            "a JSON array, not an object",
            "'text' is a number, not a string",
            "no key 'text'",
            "half a surrogate pair, which is no character",
            "empty line",
            "invalid UTF-8",
        ]
    )


def test_a_truncated_file_stops_the_run(tmp_path: Path) -> None:
    corpus(tmp_path / "in", posts=200)
    for name in ("a", "b"):
        whole = gzip.compress((tmp_path / "in/social.jsonl").read_bytes())
        (tmp_path / f"in/{name}.jsonl.gz").write_bytes(whole if name == "a" else whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"b\.jsonl\.gz: cannot be read, is it truncated"):
        curate.run(one_source(tmp_path / "in/?.jsonl.gz", tmp_path / "out", "tasks=2", "workers=2"))


def test_every_form_of_input_gives_the_same(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    import zstandard

    records = corpus(tmp_path / "in", posts=60)["social"]
    lines = (tmp_path / "in/social.jsonl").read_bytes()
    (tmp_path / "a.jsonl").write_bytes(lines)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "c.jsonl.zst").write_bytes(zstandard.compress(lines))
    (tmp_path / "d.json").write_text(json.dumps(records, ensure_ascii=False, indent=1), encoding="utf-8")
    rows = [{**r, "comments": [_as_struct(c) for c in r.get("comments", [])]} for r in records]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "e.parquet")
    results = []
    for name in ("a.jsonl", "b.jsonl.gz", "c.jsonl.zst", "d.json", "e.parquet"):
        keys = ["tasks=3", "deduplicate=none", "held_out.fraction=0"]
        curate.run(one_source(tmp_path / name, tmp_path / f"out-{name}", *keys))
        results.append(result(tmp_path / f"out-{name}"))
    assert all(other == results[0] for other in results)


def _as_struct(comment: Record | str) -> Record:
    """A comment as an object with its replies as objects, since a column has one type."""
    comment = {"text": comment} if isinstance(comment, str) else comment
    return {**comment, "replies": [{"text": reply} for reply in comment.get("replies", [])]}


def test_mistakes_are_told(tmp_path: Path) -> None:
    corpus(tmp_path, posts=20)
    with pytest.raises(UserError, match="lies where output is written; choose another folder"):
        curate.run(config(tmp_path, tmp_path))
    with pytest.raises(UserError, match="named twice, by 'a' and by 'b'"):
        twice = f"sources=[{{name: a, input: {tmp_path}/social.jsonl}},{{name: b, input: {tmp_path}/social.jsonl}}]"
        curate.run(load_config(CurateConfig, None, [twice, f"output_dir={tmp_path}/out"]))
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(UserError, match="the input is empty"):
        curate.run(one_source(tmp_path / "empty.jsonl", tmp_path / "out"))
    with pytest.raises(UserError, match=r"held_out\.fraction: 2.0 is more than 1"):
        config(tmp_path, tmp_path / "out", "held_out.fraction=2")
    with pytest.raises(UserError, match=r"sources\[0\]\.name: 'dropped' cannot be a file's name"):
        load_config(CurateConfig, None, [f"sources=[{{name: dropped, input: {tmp_path}}}]", "output_dir=x"])
    with pytest.raises(UserError, match=r"slurm\.partition: name the partition"):
        config(tmp_path, tmp_path / "out", "executor=slurm")


def test_ray_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "ray" else find(name, *more))
    corpus(tmp_path / "in", posts=20)
    with pytest.raises(UserError, match=r"ray is missing; executor=ray needs `pip install 'megatron_redone\[ray\]'`"):
        curate.run(config(tmp_path / "in", tmp_path / "out", "executor=ray"))
    curate.run(config(tmp_path / "in", tmp_path / "out"))
