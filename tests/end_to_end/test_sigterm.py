"""SIGTERM, as a batch system sends it, ends a stage with a line of its own, and no process of it is left."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.helpers import chat_tokenizers, commands, small_tokenizer

LINE = "ended by SIGTERM; the same command goes on where it was"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    chat_tokenizers.write(folder / "tokenizer", small_tokenizer.train(folder / "small"), "mistral")
    chat = [{"role": "user", "content": "which ferry? " * 20}, {"role": "assistant", "content": "the windy one " * 60}]
    words = "lake ferry dumplings noodles windy museum ticket friday rain bicycle "
    with open(folder / "posts.jsonl", "w") as posts, open(folder / "chats.jsonl", "w") as chats:
        for number in range(60_000):
            posts.write(json.dumps({"id": str(number), "text": f"{words * 3}{number}"}) + "\n")
            if number % 4 == 0:
                chats.write(json.dumps({"messages": chat}) + "\n")
    return folder


def keys(stage: str, inputs: Path, output: Path) -> list[str]:
    tokenizer = f"tokenizer.path={inputs}/tokenizer"
    return {
        "curate": [f"sources=[{{name: posts, input: {inputs}/posts.jsonl}}]", f"output_dir={output}", "tasks=4"],
        "tokenize": [f"input={inputs}/posts.jsonl", f"output_prefix={output}/posts", tokenizer, "shard_mb=1",
                     "tokenizer.fast=false"],
        "prepare-sft": [f"sources=[{{name: chats, input: {inputs}/chats.jsonl}}]", f"output_dir={output}", tokenizer],
    }[stage]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["curate", "tokenize", "prepare-sft"])
def test_a_stage_with_processes_ends_with_them(stage: str, inputs: Path, tmp_path: Path) -> None:
    command = commands.command(stage, *keys(stage, inputs, tmp_path), "workers=2")
    process = psutil.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(children := process.children(recursive=True)) < 2:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
        time.sleep(0.05)
    time.sleep(1)
    children = process.children(recursive=True)
    assert process.poll() is None, "it was done before it could be ended"
    process.terminate()
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 143 and said.count(LINE) == 1 and "Traceback" not in said, said
    assert not psutil.wait_procs(children, timeout=10)[1]


_SLOW_STAGE = """
import sys, time
import megatron_redone.cli as cli
from types import SimpleNamespace

def run(config):
    try:
        print("at work", flush=True)
        time.sleep(60)
    finally:
        print("cleaned up", flush=True)

cli._import = lambda module: SimpleNamespace(run=run)
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("rank", [None, "0"])
def test_any_stage_cleans_up_and_a_rank_ends_at_once(rank: str | None) -> None:
    """A rank may wait for others in a call that lets no handler run: it keeps to the kernel's way."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SLOW_STAGE, "export-hf", "checkpoint=a", "output=b"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **({} if rank is None else {"RANK": rank})},
    )
    assert process.stdout is not None and process.stdout.readline() == "at work\n"
    process.terminate()
    written, said = process.communicate(timeout=30)
    if rank is None:
        assert (process.returncode, written, said) == (143, "cleaned up\n", f"{LINE}\n")
    else:
        assert (process.returncode, written) == (-15, "")
