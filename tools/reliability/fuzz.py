#!/usr/bin/env python3
"""Spoils what people write and what others send: configurations, records, indices, templates, judges' replies, pickles.

    python tools/reliability/fuzz.py --cases 10000 [--seed 0] [--kind configs] [--results FILE.json]

Each case is read as the stages read it. It has to be taken, or refused in one line by the project's own exceptions; any
other exception would be a traceback that a user sees, and what takes longer than a minute hangs. Of pickles it is noted
whether their code ran. Model folders have a fuzzer of their own, tools/model_folder_fuzzer.py.
"""

import argparse
import asyncio
import contextlib
import copy
import io
import json
import logging
import os
import pickle
import random
import signal
import sys
import tempfile
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import yaml

from megatron_redone.checkpoint.metadata_file import read_metadata
from megatron_redone.config.build_preferences import EndpointConfig
from megatron_redone.config.loader import load_config, to_yaml
from megatron_redone.config.schema import describe_keys
from megatron_redone.config.stage_table import STAGES
from megatron_redone.curation.pair_building.judge_client import JudgeClient
from megatron_redone.curation.pair_building.judge_endpoint import read_scores
from megatron_redone.errors import UserError, one_line
from megatron_redone.evaluation.examples import read_conversations, read_pairs, read_texts
from megatron_redone.formats.deep_check import problems
from megatron_redone.formats.indexed import IndexedDataset, IndexedDatasetWriter
from megatron_redone.model_folders.tensor_files import PickledFormat
from megatron_redone.tokenization.chat_template import ChatTemplate, TemplateRefusal

_SECONDS = 60
_QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"
EXAMPLES = {
    **{"curate": "curate", "tokenize": "tokenize", "cpt": "pretrain", "prepare_sft": "prepare-sft", "sft1": "sft"},
    **{"prepare_preferences": "prepare-preferences", "score_reference": "score-reference", "dpo": "dpo"},
    **{"export": "export-hf", "evaluate": "evaluate", "report": "report", "build_preferences": "build-preferences"},
}
"""Files of the quickstart, and the stages that they configure."""
_REFUSALS = (UserError, TemplateRefusal)
_WORDS: list[Any] = [
    None, True, False, 0, -1, 1, 2, 1e308, -1e-308, float("nan"), float("inf"), 10**30, "", " ", "x", "null", "~",
    "a: b", "${", "${x}", "${oc.env:HOME}", "${oc.decode:1}", "\\${x}", "???", "é", "\u2028", "\ud7ff", "\x00", "../..",
    "/dev/null", [], {}, [[]], [None], {"": 1}, {"a": {"b": []}}, "!!python/object/apply:os.system [true]", "1e5",
    "0x10", "2026-11-29",
]  # fmt: skip
_TEMPLATE_PARTS = [
    "{% for m in messages %}", "{% endfor %}", "{{ m.content }}", "{{ m['role'] }}", "{% if m.role == 'user' %}",
    "{% endif %}", "{% else %}", "{{ 'a' * 2000000000 }}", "{{ '%2000000000d' % 1 }}", "{% for i in range(10**9) %}",
    "{{ 2 ** (2 ** 40) }}", "{{ messages | tojson(indent=10000000) }}", "{{ ''.__class__.__mro__ }}",
    "{% set x = namespace(n=0) %}", "{% set x.n = 1 %}", "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "{{ raise_exception('no') }}", "{{ strftime_now('%Y') }}", "{{ 1 / 0 }}", "{% generation %}", "{% endgeneration %}",
    "{{ x | center(2000000000) }}", "{% include 'x' %}", "{{ messages[99].content }}", "{{ '\\ud800' }}", "{#", "#}",
    "{{", "}}", "{%", "%}", "text", "{{ tools | length }}", "{{ dict(a=messages) }}", "{% break %}",
]  # fmt: skip
_BYTES = [b"\x00", b"\xff\xfe", b"[" * 3000, b"{", b'"', b"\n", b"\xed\xa0\x80", b"1" * 5000]


def main() -> int:
    """Tries all kinds in turn and prints the counts; exits with 1 where a case was not told well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=list(KINDS), help="that one alone")
    parser.add_argument("--results", type=Path, help="a file for the counts")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    counts = fuzz(options.cases, options.seed, [options.kind] if options.kind else list(KINDS))
    text = json.dumps(counts, indent=2)
    print(text)
    if options.results is not None:
        options.results.write_text(text + "\n")
    return 1 if counts["tracebacks"] or counts["hangs"] or counts["executed"] else 0


def fuzz(cases: int, seed: int, kinds: list[str]) -> dict[str, int]:
    """Tries so many cases, spread over the kinds."""
    counts: Counter[str] = Counter(dict.fromkeys(("cases", "taken", "refused", "tracebacks", "hangs", "executed"), 0))
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as held:
        tries = {kind: KINDS[kind](Path(folder), held) for kind in kinds}
        for number in range(cases):
            kind = kinds[number % len(kinds)]
            outcome = _outcome(tries[kind], random.Random(f"{seed} {number}"), f"{kind} {number}")
            counts.update(["cases", outcome, f"{kind}_{outcome}"])
        counts["executed"] = len(list(Path(folder).glob("executed*")))
    return dict(counts)


def _outcome(attempt: Callable[[random.Random], object], chance: random.Random, name: str) -> str:
    signal.signal(signal.SIGALRM, _hangs)
    signal.alarm(_SECONDS)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            attempt(chance)
        return "taken"
    except _REFUSALS as error:
        assert one_line(error), "a refusal says what is wrong"
        return "refused"
    except TimeoutError:
        print(f"{name}: no end within {_SECONDS} s", file=sys.stderr)
        return "hangs"
    except BaseException:
        print(f"{name}:\n{traceback.format_exc(limit=-4)}", file=sys.stderr)
        return "tracebacks"
    finally:
        signal.alarm(0)


def _hangs(*_: object) -> None:
    raise TimeoutError


def _configs(folder: Path, _: contextlib.ExitStack) -> Callable[[random.Random], object]:
    """The quickstart's files with other values, keys that are there or nearly, and other bytes; and overrides."""
    schemas = {stage: STAGES[stage].config_class() for stage in EXAMPLES.values()}
    keys = {stage: [row.name for row in describe_keys(schema)] for stage, schema in schemas.items()}
    files = {name: yaml.safe_load((_QUICKSTART / f"{name}.yaml").read_text()) for name in EXAMPLES}

    def attempt(chance: random.Random) -> None:
        name, stage = chance.choice(list(EXAMPLES.items()))
        nested = copy.deepcopy(files[name])
        for _ in range(chance.randrange(4)):
            key = chance.choice(keys[stage])
            key = _spoilt_text(chance, key) if chance.random() < 0.1 else key
            _put(nested, key.split("."), chance.choice(_WORDS))
        nested = _spoilt_value(chance, nested) if chance.random() < 0.3 else nested
        content = yaml.safe_dump(nested, allow_unicode=True).encode(errors="replace")
        file = folder / "config.yaml"
        file.write_bytes(_spoilt(chance, content) if chance.random() < 0.3 else content)
        overrides = [f"{chance.choice(keys[stage])}={chance.choice(_WORDS)}" for _ in range(chance.randrange(3))]
        to_yaml(load_config(schemas[stage], str(file), overrides))

    return attempt


def _put(nested: dict[str, Any], names: list[str], value: Any) -> None:
    for name in names[:-1]:
        nested = nested.setdefault(name, {})
        if not isinstance(nested, dict):
            return
    nested[names[-1]] = value


def _records(folder: Path, _: contextlib.ExitStack) -> Callable[[random.Random], object]:
    """Texts, conversations and pairs as JSON lines, some of them an array."""
    sound: list[Any] = [
        {"text": "a post 一个帖子"},
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"instruction": "i", "input": "", "output": "o"},
    ]

    def attempt(chance: random.Random) -> None:
        records = [_spoilt_value(chance, chance.choice(sound)) for _ in range(chance.randrange(1, 6))]
        lines = [json.dumps(record, ensure_ascii=chance.random() < 0.5) for record in records]
        text = f"[{', '.join(lines)}]" if chance.random() < 0.2 else "\n".join(lines)
        content = text.encode(errors="surrogatepass")
        file = folder / "records.jsonl"
        file.write_bytes(_spoilt(chance, content) if chance.random() < 0.5 else content)
        chance.choice([
            lambda: read_texts(str(file), "text", None, 10, 0),
            lambda: read_conversations(str(file), 10, 0),
            lambda: read_pairs(str(file), 10, 0),
        ])()  # fmt: skip

    return attempt


def _indices(folder: Path, _: contextlib.ExitStack) -> Callable[[random.Random], object]:
    """An .idx or .bin with other bytes: opened, checked and read."""
    prefix = folder / "sound"
    with IndexedDatasetWriter(prefix, np.int32) as writer:
        for length in range(1, 40):
            writer.add(np.arange(length), np.array([length]))
        writer.finish()
    content = {suffix: Path(f"{prefix}{suffix}").read_bytes() for suffix in (".idx", ".bin", ".idx.xxh3", ".bin.xxh3")
               if Path(f"{prefix}{suffix}").exists()}  # fmt: skip

    def attempt(chance: random.Random) -> None:
        target = folder / "index"
        hidden = chance.random() < 0.5  # without checksums, as other tools write it
        for suffix, data in content.items():
            place = Path(f"{target}{suffix}")
            place.unlink(missing_ok=True)
            if not (hidden and suffix.endswith(".xxh3")):
                place.write_bytes(data)
        spoilt = Path(f"{target}{chance.choice(['.idx', '.idx', '.idx', '.bin'])}")
        spoilt.write_bytes(_spoilt(chance, spoilt.read_bytes()))
        dataset = IndexedDataset(target)
        found = list(problems(dataset))
        assert all("\n" not in line for line in found), found
        for start in (0, dataset.token_count // 2):
            dataset.read_tokens(start, min(50, dataset.token_count - start))

    return attempt


def _templates(_: Path, __: contextlib.ExitStack) -> Callable[[random.Random], object]:
    """Pieces in any order."""
    chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]

    def attempt(chance: random.Random) -> None:
        text = "".join(chance.choices(_TEMPLATE_PARTS, k=chance.randrange(1, 9)))
        text = _spoilt_text(chance, text) if chance.random() < 0.3 else text
        template = ChatTemplate(text, "template", {"bos_token": "<s>"}, datetime(2026, 1, 1))
        template.render(chat, add_generation_prompt=chance.random() < 0.5)

    return attempt


def _judges(_: Path, held: contextlib.ExitStack) -> Callable[[random.Random], object]:
    """Replies of a server, spoilt."""
    reply: dict[str, Any] = {}

    class Server(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(reply["status"])
            for name, value in reply["headers"].items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply["body"])

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    held.callback(server.shutdown)
    config = EndpointConfig(
        base_url=f"http://127.0.0.1:{server.server_port}/v1", model="m", retries=0, timeout_s=5, api_key_env=None
    )

    async def ask() -> str:
        async with JudgeClient(config) as client:
            return await client.ask({"model": "m", "messages": [{"role": "user", "content": "q"}]})

    def attempt(chance: random.Random) -> None:
        sound = {"id": "1", "choices": [{"index": 0, "message": {"role": "assistant", "content": "Scores: 7 4"}}]}
        body = json.dumps(_spoilt_value(chance, sound)).encode()
        length = {"Content-Length": str(chance.choice([0, 10**9, -1]))} if chance.random() < 0.05 else {}
        reply.update(
            status=chance.choice([200] * 8 + [204, 302, 307, 400, 401, 404, 418, 429, 500, 503]),
            headers={"Content-Type": "application/json", "Location": "http://127.0.0.1:9/", **length},
            body=_spoilt(chance, body) if chance.random() < 0.4 else body,
        )
        read_scores(asyncio.run(ask()))

    return attempt


class _Calls:
    """What pickles as a call of a function."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self._mark),))


def _pickles(folder: Path, _: contextlib.ExitStack) -> Callable[[random.Random], object]:
    """A checkpoint's metadata and a model's weights that would run code, as they are and with other bytes."""

    def attempt(chance: random.Random) -> None:
        mark = folder / f"executed-{chance.randrange(10**9)}"
        content = pickle.dumps({"a": _Calls(mark), "b": [1, "x"]}, protocol=chance.choice([0, 2, 4]))
        content = _spoilt(chance, content) if chance.random() < 0.3 else content
        place = folder / "checkpoint"
        place.mkdir(exist_ok=True)
        if chance.random() < 0.5:
            (place / ".metadata").write_bytes(content)
            read_metadata(place)
        else:
            (place / "pytorch_model.bin").write_bytes(content)
            PickledFormat().entries(place / "pytorch_model.bin")

    return attempt


KINDS: dict[str, Callable[[Path, contextlib.ExitStack], Callable[[random.Random], object]]] = {
    "configs": _configs,
    "records": _records,
    "indices": _indices,
    "templates": _templates,
    "judges": _judges,
    "pickles": _pickles,
}


def _spoilt(chance: random.Random, content: bytes) -> bytes:
    """Bytes flipped, cut, doubled or put in."""
    data = bytearray(content)
    for _ in range(chance.randrange(1, 5)):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(5)
        if kind == 0 and at < len(data):
            data[at] = chance.randrange(256)
        elif kind == 1 and at < len(data):
            data[at : at + 8] = (2**64 - 1 if chance.random() < 0.5 else chance.randrange(2**64)).to_bytes(8, "little")
        elif kind == 2:
            del data[at : at + chance.randrange(1, 40)]
        elif kind == 3:
            data[at:at] = data[max(0, at - chance.randrange(1, 200)) : at]
        else:
            data[at:at] = chance.choice(
                [b"\x00", b"\xff\xfe", b"[" * 3000, b"{", b'"', b"\n", b"\xed\xa0\x80", b"1" * 5000]
            )
    return bytes(data)


def _spoilt_text(chance: random.Random, text: str) -> str:
    return _spoilt(chance, text.encode()).decode(errors="replace")


def _spoilt_value(chance: random.Random, value: Any) -> Any:
    """A value of JSON with other values and keys in some places."""
    if chance.random() < 0.12:
        return chance.choice([*_WORDS, "Scores: " + "9" * 400 + " 1", 10**400, "\ud800"])
    if isinstance(value, dict):
        return {_spoilt_key(chance, name): _spoilt_value(chance, inner) for name, inner in value.items()}
    if isinstance(value, list):
        found = [_spoilt_value(chance, inner) for inner in value]
        return found * chance.choice([0, 1, 1, 1, 3])
    return value


def _spoilt_key(chance: random.Random, name: str) -> str:
    return chance.choice(["", name.upper(), "role", "content", "\x00"]) if chance.random() < 0.08 else name


if __name__ == "__main__":
    sys.exit(main())
