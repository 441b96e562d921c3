"""Counts of what enters and leaves a step, over sources and tasks."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("datatrove")

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from tokenizers import Tokenizer

from megatron_redone.config.tokenizer import TokenizerConfig
from megatron_redone.curation.counting import Amount, Counted, Flow, TokenCounter, read_flows
from tests.helpers import small_tokenizer


def document(text: str, source: str, **more: Any) -> Document:
    return Document(text, "0", metadata={"source": source, **more})


class DropShort(PipelineStep):
    """Drops texts of one character, and changes the others."""

    name = "drop short"

    def run(self, data: Iterator[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        for one in data or ():
            if len(one.text) > 1:
                one.text += "!"
                yield one


def test_what_enters_and_leaves_is_summed_over_tasks_by_source(tmp_path: Path) -> None:
    step = Counted("short", DropShort(), tmp_path)
    tasks = [
        [document("a", "posts", comments=2, tokens=1), document("bcd", "posts", tokens=3), document("好吃", "wiki")],
        [document("ef", "posts", comments=1, tokens=2)],
        [],
    ]
    left = [one.text for rank, task in enumerate(tasks) for one in step.run(iter(task), rank, len(tasks))]
    assert left == ["bcd!", "好吃!", "ef!"]
    assert read_flows(tmp_path / "short") == {
        "posts": Flow(Amount(3, 3, 6, 6), Amount(2, 1, 7, 5)),
        "wiki": Flow(Amount(1, 0, 2, 0), Amount(1, 0, 3, 0)),
    }
    assert read_flows(tmp_path / "nowhere") == {}


def test_a_source_of_which_nothing_is_left_is_counted_too(tmp_path: Path) -> None:
    assert list(Counted("short", DropShort(), tmp_path).run(iter([document("a", "posts")]))) == []
    assert read_flows(tmp_path / "short") == {"posts": Flow(Amount(1, 0, 1, 0), Amount())}


def test_a_task_that_is_done_again_counts_once(tmp_path: Path) -> None:
    for _ in range(2):
        assert list(Counted("short", DropShort(), tmp_path).run(iter([document("ab", "posts")]), rank=3))
    assert read_flows(tmp_path / "short")["posts"].entered.documents == 1


def test_tokens_are_the_tokenizers_also_in_another_process(tmp_path: Path) -> None:
    folder = small_tokenizer.train(tmp_path)
    theirs = Tokenizer.from_file(str(folder / "tokenizer.json"))
    counter = TokenCounter(TokenizerConfig(path=str(folder)))
    for text in ["", *small_tokenizer.TEXT]:
        assert counter.count(text) == len(theirs.encode(text).ids)
    assert pickle.loads(pickle.dumps(counter)).count(text) == counter.count(text)
