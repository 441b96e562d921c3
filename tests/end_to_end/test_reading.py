"""Records that were read wrong once, by the commands that read them: what is learned, and what is invalid and why."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from megatron_redone.formats.conversations import ConversationDataset
from tests.helpers import chat_tokenizers, commands, small_tokenizer

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("datatrove")

HALF = "half a surrogate pair, which is no character"
NAN = "NaN or an infinity, which JSON does not have"
GOOD = [{"text": f"The ferry leaves at {n} from pier {n + 1}, and nobody knows why."} for n in range(9)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    return chat_tokenizers.write(folder / "qwen", small_tokenizer.train(folder / "small"), "qwen2_5")


def prepare(stage: str, file: Path, tokenizer: Path, output: Path, *keys: str) -> commands.Done:
    source = json.dumps([{"name": "x", "input": str(file)}])
    return commands.main(
        stage, f"sources={source}", f"output_dir={output}", f"tokenizer.path={tokenizer}", "workers=1", *keys
    )


def tokenize(file: Path, tokenizer: Path, output: Path, *keys: str) -> commands.Done:
    paths = [f"input=[{file}]", f"output_prefix={output}/x", f"tokenizer.path={tokenizer}"]
    return commands.main("tokenize", *paths, "workers=1", "append_eod=false", *keys)


def curate(file: Path, output: Path, *keys: str) -> commands.Done:
    sources = f"sources=[{{name: x, input: [{file}], kind: general}}]"
    off = ["deduplicate=none", "held_out.fraction=0", "length.min_general=1", "workers=1"]
    return commands.main("curate", sources, f"output_dir={output}", *off, *keys)


def learned(output: Path, tokenizer: Path) -> list[tuple[str, str]]:
    """Of every conversation the whole text, and what of it is learned."""
    library = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    dataset = ConversationDataset.open(output / "x")
    found = []
    for number in range(len(dataset)):
        ids, mask = dataset.tokens(number), dataset.loss_mask(number)
        found.append(tuple(library.decode(part.tolist(), skip_special_tokens=False) for part in (ids, ids[mask > 0])))
    return found


def invalid(path: Path) -> list[tuple[str, int, str]]:
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [(Path(record["file"]).name, record["place"], record["reason"]) for record in records]


def test_text_that_spark_stores_as_bytes_is_text(tmp_path: Path, tokenizer: Path) -> None:
    records = [{"prompt": "When?", "completion": "Um neun, täglich."}, {"prompt": "哪里？", "completion": "湖边"}]
    stored = [{name: text.encode() for name, text in record.items()} for record in records]
    pq.write_table(pa.Table.from_pylist(stored), tmp_path / "bytes.parquet")
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    for name in ("bytes.parquet", "lines.jsonl"):
        assert prepare("prepare-sft", tmp_path / name, tokenizer, tmp_path / name[:5]).returncode == 0
    assert learned(tmp_path / "bytes", tokenizer) == learned(tmp_path / "lines", tokenizer)
    assert learned(tmp_path / "bytes", tokenizer)[0][1] == "Um neun, täglich.<|im_end|>\n".rstrip("\n")


def test_bytes_that_are_no_text_are_one_rows_fault_in_every_stage(tmp_path: Path, tokenizer: Path) -> None:
    texts = [post["text"].encode() for post in GOOD]
    texts[4] = b"\xff\xfe cut"
    wrong = pa.Array.from_buffers(pa.string(), len(texts), pa.array(texts, pa.binary()).buffers())
    file = tmp_path / "not_utf8.parquet"
    pq.write_table(pa.table({"text": wrong, "prompt": wrong, "completion": wrong}), file)
    expected = [("not_utf8.parquet", 5, "column 'text': invalid UTF-8")]
    done = tokenize(file, tokenizer, tmp_path / "tokens", "max_invalid=0.2")
    assert done.returncode == 0, done.stderr
    assert invalid(tmp_path / "tokens/x.invalid.jsonl") == expected
    done = prepare("prepare-sft", file, tokenizer, tmp_path / "sft", "max_invalid=0.2")
    assert done.returncode == 0, done.stderr
    assert invalid(tmp_path / "sft/x.invalid.jsonl") == expected
    done = curate(file, tmp_path / "curated", "max_invalid=0.2")
    assert done.returncode == 0, done.stderr
    dropped = (tmp_path / "curated/dropped/read/x.jsonl").read_text()
    assert [json.loads(line)["reason"] for line in dropped.splitlines()] == [expected[0][2]]


def call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]}


def tool(name: str, *keys: str, **more: Any) -> dict[str, Any]:
    properties = {key: {"type": "string", **more} for key in keys}
    parameters = {"type": "object", "properties": properties, "required": [*keys]}
    return {"type": "function", "function": {"name": name, "description": name, "parameters": parameters}}


def test_calls_and_schemas_are_those_of_json_lines(tmp_path: Path, tokenizer: Path) -> None:
    tools = [tool("get_tide", "port"), tool("add", "a", "b")]
    records = [
        {"messages": [{"role": "user", "content": text}, answer], "tools": tools}
        for text, answer in [("tide?", call("get_tide", {"port": "Rye"})), ("2 + 3?", call("add", {"a": 2, "b": 3}))]
    ]
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "table.parquet")
    for name in ("lines.jsonl", "table.parquet"):
        done = prepare("prepare-sft", tmp_path / name, tokenizer, tmp_path / name[:5])
        assert done.returncode == 0, done.stderr
    assert learned(tmp_path / "table", tokenizer) == learned(tmp_path / "lines", tokenizer)
    assert '"arguments": {"a": 2, "b": 3}}' in learned(tmp_path / "table", tokenizer)[1][1]


def test_a_null_default_stays_in_a_schema(tmp_path: Path, tokenizer: Path) -> None:
    tools = [tool("tide", "port", "day", default=None)]
    messages = [{"role": "user", "content": "tide?"}, call("tide", {"port": "Rye", "day": None})]
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": messages, "tools": tools}) + "\n")
    assert prepare("prepare-sft", tmp_path / "a.jsonl", tokenizer, tmp_path / "out").returncode == 0
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(tokenizer / "tokenizer.json"))
    theirs.chat_template = (tokenizer / "chat_template.jinja").read_text()
    ids = theirs.apply_chat_template(messages, tools=tools, return_dict=False)
    assert ConversationDataset.open(tmp_path / "out/x").tokens(0).tolist() == ids
    assert '"default": null' in theirs.decode(ids)


def test_every_stage_has_one_rule_of_what_is_no_text(tmp_path: Path, tokenizer: Path) -> None:
    bad = {
        '{"text": "x", "score": NaN}': NAN,
        '{"text": "a smile cut off \\ud83d"}': HALF,
        '{"text": "x", "n": ' + "[" * 300 + "]" * 300 + "}": "nested deeper than 200 levels",
        '{"text": "x"': "malformed JSON",
    }
    (tmp_path / "a.jsonl").write_text("".join(line + "\n" for line in [*map(json.dumps, GOOD), *bad]))
    keys = ("max_invalid=0.5",)
    for done in (
        tokenize(tmp_path / "a.jsonl", tokenizer, tmp_path / "tokens", *keys),
        curate(tmp_path / "a.jsonl", tmp_path / "curated", *keys),
    ):
        assert done.returncode == 0, done.stderr
    found = [(place, reason) for _, place, reason in invalid(tmp_path / "tokens/x.invalid.jsonl")]
    assert found == [*enumerate(bad.values(), len(GOOD) + 1)]
    dropped = (tmp_path / "curated/dropped/read/x.jsonl").read_text().splitlines()
    assert [json.loads(line)["reason"] for line in dropped] == [*bad.values()]
    for stage, good in (
        ("prepare-sft", {"prompt": "q", "completion": "a"}),
        ("prepare-preferences", {"prompt": "q", "chosen": "a", "rejected": "b"}),
    ):
        lines = [json.dumps(good), *bad]
        (tmp_path / f"{stage}.jsonl").write_text("".join(line + "\n" for line in lines))
        done = prepare(stage, tmp_path / f"{stage}.jsonl", tokenizer, tmp_path / stage, "max_invalid=0.9")
        assert done.returncode == 0, done.stderr
        assert [reason for _, _, reason in invalid(tmp_path / stage / "x.invalid.jsonl")] == [*bad.values()]


def test_an_array_given_to_tokenize_and_curate_is_read(tmp_path: Path, tokenizer: Path) -> None:
    (tmp_path / "a.json").write_text("\ufeff" + json.dumps(GOOD, indent=1))
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(post) + "\n" for post in GOOD))
    for name in ("a.json", "b.jsonl"):
        done = tokenize(tmp_path / name, tokenizer, tmp_path / name[0])
        assert done.returncode == 0, done.stderr
        done = curate(tmp_path / name, tmp_path / f"curated_{name[0]}", "tasks=3")
        assert done.returncode == 0, done.stderr
    for ending in ("bin", "idx"):
        assert (tmp_path / f"a/x.{ending}").read_bytes() == (tmp_path / f"b/x.{ending}").read_bytes()
    first, second = (json.loads((tmp_path / f"curated_{n}/funnel.json").read_text()) for n in "ab")
    assert first == second and first["rows"][0]["left"]["documents"] == len(GOOD)


def test_numbers_of_many_digits_are_learned_as_they_stand(tmp_path: Path, tokenizer: Path) -> None:
    number = 123456789012345678901234
    record = {"messages": [{"role": "user", "content": "add"}, call("add", {"a": number})]}
    (tmp_path / "a.jsonl").write_text(json.dumps(record) + "\n")
    assert prepare("prepare-sft", tmp_path / "a.jsonl", tokenizer, tmp_path / "out").returncode == 0
    assert f'{{"a": {number}}}' in learned(tmp_path / "out", tokenizer)[0][1]
    posts = "".join(json.dumps({"id": number + n, **post}) + "\n" for n, post in enumerate(GOOD))
    (tmp_path / "posts.jsonl").write_text(posts)
    assert curate(tmp_path / "posts.jsonl", tmp_path / "curated").returncode == 0
    kept = (tmp_path / "curated/x.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in kept] == [str(number + n) for n in range(len(GOOD))]


def test_a_record_that_is_too_large_is_invalid_by_a_key(tmp_path: Path, tokenizer: Path) -> None:
    posts = [*GOOD, {"text": "x y " * 300_000}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(post) + "\n" for post in posts))
    pq.write_table(pa.Table.from_pylist(posts), tmp_path / "b.parquet")
    for name in ("a.jsonl", "b.parquet"):
        done = tokenize(tmp_path / name, tokenizer, tmp_path / name[0], "max_invalid=0.2", "max_record_mb=1")
        assert done.returncode == 0, done.stderr
        expected = [(name, len(posts), "a record of more than 1 MB")]
        assert invalid(tmp_path / name[0] / "x.invalid.jsonl") == expected
        done = curate(tmp_path / name, tmp_path / f"curated_{name[0]}", "max_invalid=0.2", "max_record_mb=1")
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_a_template_without_end_ends_in_one_line(tmp_path: Path, tokenizer: Path, workers: int) -> None:
    endless = (
        "{% for a in range(99999) %}{% for b in range(99999) %}{{ ''.center(2000000000) }}{% endfor %}{% endfor %}"
    )
    (tmp_path / "endless.jinja").write_text(endless)
    (tmp_path / "a.jsonl").write_text(json.dumps({"prompt": "q", "completion": "a"}) + "\n")
    keys = (f"chat_template={tmp_path}/endless.jinja", f"workers={workers}")
    done = prepare("prepare-sft", tmp_path / "a.jsonl", tokenizer, tmp_path / "out", *keys)
    assert done.returncode == 2 and "MB of memory for one question" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and "Traceback" not in done.stderr


def test_what_is_no_number_in_a_column_is_named(tmp_path: Path, tokenizer: Path) -> None:
    rows = [{"prompt": "q", "completion": "a", "score": score} for score in (0.5, math.nan, 1.5)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    done = prepare("prepare-sft", tmp_path / "a.parquet", tokenizer, tmp_path / "out", "max_invalid=0.5")
    assert done.returncode == 0, done.stderr
    assert invalid(tmp_path / "out/x.invalid.jsonl") == [("a.parquet", 2, f"column 'score': {NAN}")]
