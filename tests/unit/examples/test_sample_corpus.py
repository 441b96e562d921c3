"""The quickstart's sample corpus: its form, and that curation has something to do on it."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from megatron_redone.curation.posts import parse_post, walk

DATA = Path(__file__).parents[3] / "examples/quickstart/data"
CAPABILITIES = [
    "content_understanding",
    "information_extraction",
    "semantic_matching",
    "user_behaviour",
    "dialogue_persona",
    "translation",
    "general",
]


def records(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def chinese(text: str) -> bool:
    return re.search(r"[\u4e00-\u9fff]", text) is not None


def test_it_is_small() -> None:
    assert sum(path.stat().st_size for path in DATA.rglob("*.jsonl")) < 300_000
    assert sum(1 for _ in DATA.rglob("*.jsonl")) == 10


@pytest.mark.parametrize("name", ["posts/social", "posts/general"])
def test_posts_are_posts_in_two_languages(name: str) -> None:
    posts = [parse_post(record) for record in records(name)]
    assert len({post.id for post in posts}) == len(posts) >= 60
    share = sum(chinese(post.text) for post in posts) / len(posts)
    assert 0.3 < share < 0.7


def test_social_posts_have_threads() -> None:
    posts = [parse_post(record) for record in records("posts/social")]
    assert len(posts) >= 140
    assert sum(bool(post.comments) for post in posts) > 90
    assert sum(bool(comment.replies) for post in posts for comment in walk(post.comments)) > 50


@pytest.mark.parametrize("name", CAPABILITIES)
def test_conversations_alternate_and_do_not_repeat(name: str) -> None:
    conversations = [record["messages"] for record in records(f"conversations/{name}")]
    assert len(conversations) >= 25
    for messages in conversations:
        turns = messages[1:] if messages[0]["role"] == "system" else messages
        assert [turn["role"] for turn in turns] == ["user", "assistant"] * (len(turns) // 2)
        assert all(turn["content"].strip() for turn in messages)
    assert len({json.dumps(messages) for messages in conversations}) == len(conversations)
    assert (
        sum(chinese(messages[-1]["content"] + messages[-2]["content"]) for messages in conversations)
        / len(conversations)
        > 0.3
    )


def test_extracted_answers_stand_in_the_post() -> None:
    for record in records("conversations/information_extraction"):
        question, answer = (turn["content"] for turn in record["messages"])
        assert answer in question.split("\n\n", 1)[1]


@pytest.mark.parametrize(("name", "most"), [("content_understanding", 0.4), ("semantic_matching", 0.4)])
def test_no_constant_answer_scores_well(name: str, most: float) -> None:
    answers = Counter(record["messages"][-1]["content"] for record in records(f"conversations/{name}"))
    assert max(answers.values()) / answers.total() < most
    assert max(map(len, answers)) < 20


def test_preferences_are_trl_messages() -> None:
    pairs = records("preferences/pairs")
    assert len(pairs) == 80
    for pair in pairs:
        assert [turn["role"] for turn in pair["prompt"]] == ["user"]
        assert [pair[side][0]["role"] for side in ("chosen", "rejected")] == ["assistant", "assistant"]
        assert pair["chosen"] != pair["rejected"]


def test_numbers_in_it_are_nobodys() -> None:
    """Phone numbers are from ranges that are not given out; account numbers are longer than real ones."""
    text = "".join(path.read_text(encoding="utf-8") for path in DATA.rglob("*.jsonl"))
    long_numbers = set(re.findall(r"\+?\d[\d -]{6,}\d", text))
    assert long_numbers == {"+00 000 000 0000", "1-555-010-0000", "400-000-0000", "990000000001"}


def test_every_filter_finds_something(tmp_path: Path) -> None:
    pytest.importorskip("datatrove")
    from megatron_redone.config.curate import CurateConfig
    from megatron_redone.config.loader import load_config
    from megatron_redone.stages import curate

    sources = f"sources=[{{name: social, input: {DATA}/posts/social.jsonl}}]"
    curate.run(load_config(CurateConfig, None, [sources, f"output_dir={tmp_path}", "held_out.fraction=0.15"]))
    rows = {row["step"]: row for row in json.loads((tmp_path / "funnel.json").read_text())["rows"]}
    dropped = {step: row["dropped"]["documents"] for step, row in rows.items()}
    assert all(dropped[step] for step in ("clean", "advertising", "repetition", "length", "exact", "near"))
    assert rows["advertising"]["comments_dropped"] == 2
    assert len(rows["advertising"]["reasons"]) >= 6
    assert rows["held_out"]["left"]["documents"] > 100
    assert rows["held_out"]["held_out"]["documents"] > 10
