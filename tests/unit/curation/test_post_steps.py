"""The steps for posts: what they drop, of which nothing is lost, and what they leave."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("datatrove")

from datatrove.data import Document

from megatron_redone.config.curate import (
    AdvertisingConfig,
    CleanConfig,
    LengthConfig,
    RepetitionConfig,
    ThreadsConfig,
)
from megatron_redone.curation.post_filter import FilterChain, PostFilter, Renderer, comments_of
from megatron_redone.curation.post_steps import CleanPosts, CutThreads, DropAdvertising, DropByLength, DropRepetition
from megatron_redone.curation.posts import parse_post

RENDERER = Renderer(True, None)
ADVERT = "加我微信 abc12345 领取优惠"
LONG = "the noodles there are the best in the whole town, we go every week"


def apply(step: PostFilter, record: dict[str, Any], kind: str = "social") -> tuple[str | None, list[tuple[str, str]]]:
    """The text that a step leaves, None where it drops the post; and its dropped texts with their reasons."""
    document = Document("", "7", metadata={"source": "posts", "kind": kind, "post": parse_post(record)})
    RENDERER(document)
    left = [one.text for one in step.run(iter([document]))]
    folder = step.dropped.folder
    files = [folder / "posts/00000.jsonl", folder.parent / comments_of(step.name) / "posts/00000.jsonl"]
    lines = [json.loads(line) for file in files if file.exists() for line in file.read_text().splitlines()]
    return (left[0] if left else None), [(line["text"], line["reason"]) for line in lines]


def test_cleaning_takes_out_what_is_empty_and_keeps_the_most_liked(tmp_path: Path) -> None:
    comments = [{"text": "\u200b", "author": "a"}, {"text": "few", "likes": 1}, {"text": "sooooooo good", "likes": 9}]
    step = CleanPosts(CleanConfig(max_comments=1), ThreadsConfig(), tmp_path, RENDERER)
    text, dropped = apply(step, {"text": "hi &amp; bye", "comments": comments})
    assert text == "hi & bye\n\n- sooooo good"
    assert dropped == [("\u200b", "nothing left"), ("few", "too many in the thread")]


def test_general_texts_keep_their_runs_links_and_contacts(tmp_path: Path) -> None:
    record = {"text": f"sooooooooo http://example.org/a {LONG} {ADVERT}"}
    for step in (
        CleanPosts(CleanConfig(), ThreadsConfig(), tmp_path, RENDERER),
        DropAdvertising(AdvertisingConfig(), True, tmp_path, RENDERER),
    ):
        assert apply(step, record, "general") == (record["text"], [])


def test_a_comment_that_advertises_goes_alone_and_its_replies_stay(tmp_path: Path) -> None:
    comments = [{"text": ADVERT, "replies": [{"text": "no thanks"}]}]
    step = DropAdvertising(AdvertisingConfig(), True, tmp_path, RENDERER)
    text, dropped = apply(step, {"text": f"{LONG} https://example.org/x", "comments": comments})
    assert text == f"{LONG}\n\n- no thanks" and [one for one, _ in dropped] == [ADVERT]


def test_a_mention_bears_the_letter_of_its_speaker_after_comments_went(tmp_path: Path) -> None:
    comments = [{"text": ADVERT, "author": "xx"}, {"text": "hi there", "author": "yy"}]
    comments.append({"text": "@yy agreed", "author": "zz"})
    document = Document("", "7", metadata={"source": "posts", "kind": "social"})
    document.metadata["post"] = parse_post({"text": LONG, "comments": comments})
    steps = [
        CleanPosts(CleanConfig(), ThreadsConfig(), tmp_path, RENDERER),
        DropAdvertising(AdvertisingConfig(), True, tmp_path, RENDERER),
    ]
    [left] = FilterChain(steps, tmp_path).run(iter([document]))
    assert left.text == f"{LONG}\n\n- B: hi there\n- C: @B agreed"


def test_a_post_that_advertises_goes_with_its_comments(tmp_path: Path) -> None:
    step = DropAdvertising(AdvertisingConfig(), True, tmp_path, RENDERER)
    text, [(dropped, _)] = apply(step, {"text": ADVERT, "comments": ["ok"]})
    assert text is None and dropped == f"{ADVERT}\n\n- ok"


def test_what_was_said_before_in_a_thread_goes_but_short_agreement_stays(tmp_path: Path) -> None:
    step = DropRepetition(RepetitionConfig(), True, tmp_path, RENDERER)
    again = "#lunch " + LONG.upper()
    text, dropped = apply(step, {"text": "Where to eat?", "comments": [LONG, again, "+1", "+1"]})
    assert text == f"Where to eat?\n\n- {LONG}\n- +1\n- +1" and dropped == [(again, "said before in the thread")]


@pytest.mark.parametrize(
    ("comments", "left"),
    [
        (["so good " * 20, "indeed"], ["indeed"]),
        ([f"{LONG} {i} times" for i in range(6)], []),
    ],
)
def test_a_post_does_not_go_for_what_its_comments_repeat(tmp_path: Path, comments: list[str], left: list[str]) -> None:
    step = DropRepetition(RepetitionConfig(), False, tmp_path, RENDERER)
    text, dropped = apply(step, {"text": "Where to eat?", "comments": comments})
    assert text == "\n\n".join(["Where to eat?", *(f"- {one}" for one in left)])
    assert len(dropped) == len(comments) - len(left)
    text, dropped = apply(step, {"text": "so good " * 20, "comments": ["indeed"]})
    assert text is None and len(dropped) >= 1


class Words:
    """Counts words where a tokenizer would count tokens."""

    def count(self, text: str) -> int:
        return len(text.split())


@pytest.mark.parametrize("room", [3, 9, 14, 20, 100])
def test_threads_are_cut_to_as_many_tokens_and_nobody_answers_what_is_not_there(tmp_path: Path, room: int) -> None:
    comments = [
        {"text": "one two three", "likes": 1, "replies": [{"text": "four five six seven", "likes": 9}]},
        {"text": "eight nine", "likes": 5},
    ]
    counted = Renderer(False, Words())  # type: ignore[arg-type]
    step = CutThreads(ThreadsConfig(max_tokens=room), tmp_path, counted)
    document = Document("", "7", metadata={"source": "posts", "kind": "social"})
    document.metadata["post"] = parse_post({"text": "a b c", "comments": comments})
    counted(document)
    assert document.metadata["tokens"] == 15
    assert step.filter(document) is True
    lines = document.text.splitlines()
    assert document.metadata["tokens"] <= room
    assert ("  - four five six seven" in lines) <= ("- one two three" in lines)
    assert len(lines) == {3: 1, 9: 3, 14: 4, 20: 5, 100: 5}[room]


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("abc", "social", "too short"),
        ("好吃好吃", "social", None),
        ("好吃", "social", "too short"),
        ("good noodles", "social", "too short"),
        ("good noodles", "general", "too short"),
        ("x" * 101, "general", "too long"),
        ("abc http://example.org/a-long-address", "social", "too short"),
    ],
)
def test_lengths_weigh_scripts_alike_and_links_count_for_nothing(
    tmp_path: Path, text: str, kind: str, reason: str | None
) -> None:
    step = DropByLength(LengthConfig(max=100), tmp_path, RENDERER)
    left, dropped = apply(step, {"text": text}, kind)
    assert (left, dropped) == ((text, []) if reason is None else (None, [(text, reason)]))
