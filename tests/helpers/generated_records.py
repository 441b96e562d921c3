"""Records that hypothesis makes, the same in every kind of file, and what is read of them.

What JSON and Arrow cannot both say is left out: in Arrow a key has one type and one place among its neighbours in the
whole file, and null in a struct is a key that is not there.
"""

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from hypothesis import strategies as st

from megatron_redone.config.chat_source import OnLostAnswer
from megatron_redone.config.prepare_preferences import (
    PreferenceFormat,
    PreferenceSource,
    PreparePreferencesConfig,
)
from megatron_redone.config.prepare_sft import ConversationFormat, ConversationSource, PrepareSFTConfig
from megatron_redone.config.tokenizer import TokenizerConfig
from megatron_redone.curation.chats.chat_batches import EncodedBatch, RawChats
from megatron_redone.curation.conversations.encoding import ConversationEncoder
from megatron_redone.curation.pair_formats.encoding import PairEncoder
from megatron_redone.curation.posts import parse_post
from megatron_redone.formats.input_records import InvalidRecordError
from megatron_redone.formats.inputs import FileRange, InputFile, expand_inputs
from megatron_redone.formats.raw_records import read_raw
from megatron_redone.formats.reader import read_records
from megatron_redone.tokenization.chat_template_file import find_chat_template
from tests.helpers import chat_tokenizers, small_tokenizer

Record = dict[str, Any]
Encode = Callable[[RawChats], EncodedBatch]

_NOW = datetime(2025, 7, 10)


def _object(
    required: dict[str, st.SearchStrategy[Any]], optional: Mapping[str, st.SearchStrategy[Any]] = MappingProxyType({})
) -> st.SearchStrategy[Record]:
    """Objects whose keys always have the same order, which `fixed_dictionaries` gives to those of `required` alone."""
    order = [*required, *optional]
    made = st.fixed_dictionaries(required, optional=dict(optional))
    return made.map(lambda found: {name: found[name] for name in order if name in found})


_WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(str.strip)
_ODD_TEXTS = ["b'x'", "None", "nan", "1", "{}", "[1]", "\ufeffa", "🎈👩‍🚀", "a\r\nb\u2028c"]
_TEXT = st.one_of(_WORDS, st.sampled_from(_ODD_TEXTS))
# The keys of calls and of schemas, in the order that they have everywhere, each with values of one type.
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "city": _TEXT,
    "count": st.integers(-(2**63), 2**63 - 1),
    "share": st.floats(allow_nan=False, allow_infinity=False),
    "exact": st.booleans(),
    "days": st.lists(st.one_of(st.none(), _TEXT), max_size=3),
    "place": _object({}, {"lat": st.integers(-90, 90), "names": st.lists(_TEXT, max_size=2)}),
}
_ARGUMENTS = _object({}, _VALUES)


def _call(name: str) -> st.SearchStrategy[Record]:
    function = _object({"name": st.just(name), "arguments": _ARGUMENTS})
    return _object({"type": st.just("function"), "function": function})


_CALLS = st.lists(st.sampled_from(["tide", "add"]).flatmap(_call), min_size=1, max_size=2)
_PROPERTY = _object({"type": st.sampled_from(["string", "number"])}, {"enum": st.lists(_TEXT)})
_PARAMETERS = _object(
    {"type": st.just("object"), "properties": _object({}, dict.fromkeys(_VALUES, _PROPERTY))},
    {"required": st.lists(st.sampled_from(list(_VALUES)), max_size=2)},
)
_FUNCTION = _object({"name": st.sampled_from(["tide", "add"])}, {"description": _TEXT, "parameters": _PARAMETERS})
_TOOLS = st.lists(_object({"type": st.just("function"), "function": _FUNCTION}), min_size=1, max_size=2)


def _turn(role: str) -> st.SearchStrategy[Record]:
    return _object(
        {"role": st.just(role), "content": st.builds(lambda n, text: text if n != 7 else "", st.integers(0, 19), _TEXT)}
    )


_ANSWER = st.one_of(
    _turn("assistant"),
    st.builds(lambda calls: {"role": "assistant", "content": "", "tool_calls": calls}, _CALLS),
)
_TURN = st.one_of(_turn("user"), _ANSWER, _turn("tool"))
_MESSAGES = st.builds(
    lambda first, middle, last: [first, *middle, last], _turn("user"), st.lists(_TURN, max_size=3), _ANSWER
)
CONVERSATIONS = _object({"messages": _MESSAGES}, {"tools": _TOOLS})
_REWARDS = st.builds(
    lambda less, more: {"score_chosen": more, "score_rejected": less}, st.floats(0, 1), st.floats(2, 3)
)
_RESPONSES = _object(
    {
        "prompt": st.lists(_turn("user"), min_size=1, max_size=2),
        "chosen": st.lists(_ANSWER, min_size=1, max_size=1),
        "rejected": st.lists(_ANSWER, min_size=1, max_size=1),
    },
    {"tools": _TOOLS},
)
PAIRS = st.one_of(_RESPONSES, st.builds(lambda pair, rewards: {**rewards, **pair}, _RESPONSES, _REWARDS))

_ALL_ARGUMENTS = {
    "city": "Rye",
    "count": 1,
    "share": 0.5,
    "exact": True,
    "days": ["Monday"],
    "place": {"lat": 1, "names": ["x"]},
}
_WHOLE_CALL = {"type": "function", "function": {"name": "tide", "arguments": _ALL_ARGUMENTS}}
_WHOLE_ANSWER = {"role": "assistant", "content": "", "tool_calls": [_WHOLE_CALL]}
_WHOLE_PARAMETERS = {
    "type": "object",
    "properties": {name: {"type": "string", "enum": ["x"]} for name in _VALUES},
    "required": ["city"],
}
_WHOLE_TOOL = {
    "type": "function",
    "function": {"name": "tide", "description": "of the sea", "parameters": _WHOLE_PARAMETERS},
}
# A record that has every key: Arrow takes their order from it.
WHOLE_CONVERSATION = {"messages": [{"role": "user", "content": "When?"}, _WHOLE_ANSWER], "tools": [_WHOLE_TOOL]}
WHOLE_PAIR = {
    "score_chosen": 1.0,
    "score_rejected": 0.5,
    "prompt": [{"role": "user", "content": "When?"}],
    "chosen": [_WHOLE_ANSWER],
    "rejected": [{"role": "assistant", "content": "No.", "tool_calls": [_WHOLE_CALL]}],
    "tools": [_WHOLE_TOOL],
}


def write_everywhere(folder: Path, records: list[Record]) -> list[InputFile]:
    """Writes records as JSON lines, which come first, an array, both compressed, and Parquet in three styles."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(record) + "\n" for record in records).encode()
    array = json.dumps(records, ensure_ascii=False, indent=1).encode()
    contents = {
        "lines.jsonl": lines,
        "array.json": array,
        "lines.jsonl.gz": gzip.compress(lines, 1),
        "array.json.zst": zstandard.compress(array, 1),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    table = pa.Table.from_pylist(records)
    pq.write_table(table, folder / "arrow.parquet")
    schema = pa.schema([(field.name, _as_spark_writes(field.type)) for field in table.schema])
    pq.write_table(pa.Table.from_pylist([_in_bytes(record) for record in records], schema), folder / "spark.parquet")
    pd.DataFrame(records).to_parquet(folder / "pandas.parquet")
    names = [*contents, "arrow.parquet", "spark.parquet", "pandas.parquet"]
    return [file for name in names for file in expand_inputs([str(folder / name)])]


def _as_spark_writes(kind: Any) -> Any:
    if pa.types.is_string(kind):
        return pa.binary()
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _as_spark_writes(field.type)) for field in kind])
    return pa.list_(_as_spark_writes(kind.value_type)) if pa.types.is_list(kind) else kind


def _in_bytes(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _in_bytes(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_in_bytes(inner) for inner in value]
    return value.encode() if isinstance(value, str) else value


def encoders(folder: Path) -> tuple[Encode, Encode]:
    """What makes ids and masks of conversations, and of pairs."""
    path = chat_tokenizers.write(folder / "qwen", small_tokenizer.train(folder / "small"), "qwen2_5")
    template = find_chat_template(path, None)
    tokenizer = TokenizerConfig(path=str(path))
    conversations = PrepareSFTConfig(
        sources=[ConversationSource(input=["x"], name="x")],
        tokenizer=tokenizer,
        output_dir="x",
        on_lost_answer=OnLostAnswer.keep,
    )
    pairs = PreparePreferencesConfig(
        sources=[PreferenceSource(input=["x"], name="x")], tokenizer=tokenizer, output_dir="x"
    )
    return ConversationEncoder(conversations, template, _NOW).encode, PairEncoder(pairs, template, _NOW).encode


def encoded(file: InputFile, encode: Encode, is_pairs: bool) -> list[Any]:
    """All that a dataset would hold of a file, and the reasons of what it would not."""
    format = PreferenceFormat.trl if is_pairs else ConversationFormat.messages
    found: list[Any] = []
    for batch in read_raw(file):
        result = encode(RawChats(0, format, batch))
        found += [(i.tokens.tolist(), i.loss_mask.tolist(), i.lengths, i.rewards, i.key) for i in result.items]
        found += sorted(record.reason for record in result.invalid)
    return found


# Lines of JSON that a writer of posts may leave, good and bad.
_EXTRA = st.sampled_from(
    ["", ', "n": 1', ', "n": NaN', ', "n": -Infinity', ', "n": 1e999', ', "n": ' + "9" * 25, ', "n": ' + "9" * 400,
     ', "n": ' + "[" * 250 + "]" * 250, ', "n": ' + "[" * 150 + "]" * 150, ', "text": "again"', ', "n": "\\ud83d"', ","]
)  # fmt: skip
_JSON_TEXT = st.one_of(
    _TEXT.map(json.dumps),
    st.sampled_from(
        ['"a\\ud83d"', '"\\ude00b"', "null", "3", '["a"]', '""', '" \\n"', "true", "NaN", '"a', '"\\u0000"', '"\\x"']
    ),
)
_OBJECT = st.builds(lambda text, extra: f'{{"text": {text}{extra}}}'.encode(), _JSON_TEXT, _EXTRA)
LINES = st.one_of(
    _OBJECT,
    _OBJECT,
    st.builds(lambda line, at: line[: at % len(line)], _OBJECT, st.integers(0, 200)),
    st.builds(lambda line: b"\xef\xbb\xbf" + line, _OBJECT),
    st.sampled_from([b"", b" \t", b"[1]", b'"text"', b"null", b'{"body": "x"}', b'{"text": "\xff"}', b"[" * 3000,
                     b'{"text": "\xed\xa0\xbd"}', b'{"text": "' + b"y" * 5000 + b'"}', b"{} {}"]),
).map(lambda line: line.replace(b"\n", b" "))  # fmt: skip


def write_posts(folder: Path, lines: list[bytes]) -> list[InputFile]:
    """Writes lines as they are, and compressed; behind one that keeps the file from being taken for an array."""
    folder.mkdir(parents=True, exist_ok=True)
    content = b"\n".join([b'{"text": "first"}', *lines]) + b"\n"
    (folder / "posts.jsonl").write_bytes(content)
    (folder / "posts.jsonl.gz").write_bytes(gzip.compress(content, 1))
    return [file for name in ("posts.jsonl", "posts.jsonl.gz") for file in expand_inputs([str(folder / name)])]


def as_tokenize_reads(file: InputFile, most_bytes: int) -> list[tuple[int, str, bool]]:
    """Of every record its place, and its text or the reason why it is invalid."""
    invalid: list[tuple[int, str, bool]] = []
    texts: list[str] = []
    for batch in read_records(FileRange(file), "text", most_bytes):
        texts += batch.texts
        invalid += [(record.place, record.reason, False) for record in batch.invalid]
    places = {place for place, _, _ in invalid}
    free = (place for place in range(1, len(texts) + len(invalid) + 1) if place not in places)
    return sorted([*invalid, *((place, text, True) for place, text in zip(free, texts, strict=True))])


def as_curate_reads(file: InputFile, most_bytes: int) -> list[tuple[int, str, bool]]:
    """The same, as posts are read."""
    return sorted(_posts(file, most_bytes))


def _posts(file: InputFile, most_bytes: int) -> Iterator[tuple[int, str, bool]]:
    for batch in read_raw(file, most_bytes):
        for record in batch.records:
            try:
                yield record.place, parse_post(record.parse()).text, True
            except InvalidRecordError as reason:
                yield record.place, str(reason), False
