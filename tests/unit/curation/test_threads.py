"""Threads that are cut down keep what is replied to; what is quoted is said once."""

import random

import pytest

from megatron_redone.config.curate import ChooseComments, ThreadsConfig
from megatron_redone.curation.posts import Comment, Post, parse_post, walk
from megatron_redone.curation.threads import keep_ranked, ranks, reading_order, remove_quotes
from tests.helpers.threads import THREAD

NOODLES = "The noodles at the harbour are the best in the whole town"
CHINESE = "港口那家面馆是全城最好吃的一家"


def cut(post: Post, most: int, config: ThreadsConfig | None = None) -> list[Comment]:
    replies = reading_order(post.comments)
    return keep_ranked(post, ranks(replies, config or ThreadsConfig(), "7"), [1] * len(replies), most)


def grown(rng: random.Random, comments: int) -> Post:
    items = [
        {"id": i, "parent": rng.choice([None, *range(i)]), "text": f"t{i}", "likes": rng.randrange(9)}
        for i in range(comments)
    ]
    return parse_post({"text": "x", "comments": items})


def test_the_most_liked_comments_stay_in_their_order() -> None:
    post = parse_post(THREAD)
    left_out = cut(post, 2)
    assert [comment.likes for comment in walk(post.comments)] == [3, 9]
    assert len(left_out) == 3


@pytest.mark.parametrize("choose", ChooseComments)
def test_whoever_is_replied_to_stays_and_nothing_is_lost(choose: ChooseComments) -> None:
    rng = random.Random(1)
    for most in (0, 1, 7, 30, 60):
        post = grown(rng, 40)
        above = {reply.comment.text: reply.above for reply in reading_order(post.comments)}
        texts = [comment.text for comment in walk(post.comments)]
        left_out = cut(post, most, ThreadsConfig(choose=choose))
        kept = [comment.text for comment in walk(post.comments)]
        assert len(kept) == min(most, 40)
        assert sorted([*kept, *(comment.text for comment in left_out)]) == sorted(texts)
        for text in kept:
            number = above[text]
            assert number is None or texts[number] in kept


def test_a_sample_follows_its_seed_and_is_of_all_comments_alike() -> None:
    flat = {"text": "x", "comments": [{"text": f"t{i}"} for i in range(20)]}
    first = [cut_texts(flat, seed) for seed in range(400)]
    assert first == [cut_texts(flat, seed) for seed in range(400)]
    counts = [sum(f"t{i}" in kept for kept in first) for i in range(20)]
    # 100 of 400 are expected of each, with a standard deviation of 8.7.
    assert min(counts) > 65 and max(counts) < 135


def cut_texts(record: dict, seed: int) -> list[str]:  # type: ignore[type-arg]
    post = parse_post(record)
    cut(post, 5, ThreadsConfig(choose=ChooseComments.random, seed=seed))
    return [comment.text for comment in post.comments]


@pytest.mark.parametrize(
    ("comments", "left"),
    [
        ([f"> {NOODLES}\nI doubt it"], ["I doubt it"]),
        ([f">{NOODLES[:26]}\n> {NOODLES[27:]}\n\nno way"], ["no way"]),
        ([f"{CHINESE}不错", f"同意//@user:{CHINESE}不错//@OP: {NOODLES}"], [f"{CHINESE}不错", "同意"]),
        ([f"「小李：{NOODLES}」\n- - - - - -\n好吃吗"], ["好吃吗"]),
        ([f"「{NOODLES}」\n————\n好吃吗"], ["好吃吗"]),
        ([f"{NOODLES}, he says. Really?"], [", he says. Really?"]),
        # Nobody here has said that, so it stays.
        (["> from somewhere else\nso true"], ["> from somewhere else\nso true"]),
        (["哈哈//@别人:没说过的话"], ["哈哈//@别人:没说过的话"]),
        (["「书名」很好看"], ["「书名」很好看"]),
        ([">_< oh no", "5 > 3"], [">_< oh no", "5 > 3"]),
        (["+1", "+1 too"], ["+1", "+1 too"]),
    ],
)
def test_what_is_quoted_is_said_once(comments: list[str], left: list[str]) -> None:
    post = parse_post({"text": NOODLES, "comments": comments})
    assert remove_quotes(post) == []
    assert [comment.text for comment in post.comments] == left


def test_a_comment_that_only_quotes_goes_and_its_replies_stay() -> None:
    post = parse_post({"text": NOODLES, "comments": [{"text": f"> {NOODLES}", "replies": ["why quote it?"]}]})
    assert [comment.text for comment in remove_quotes(post)] == [f"> {NOODLES}"]
    assert [comment.text for comment in post.comments] == ["why quote it?"]


def test_what_is_quoted_later_is_not_taken_from_who_said_it_first() -> None:
    post = parse_post({"text": "x", "comments": [f"> {CHINESE}\n吗", CHINESE]})
    assert remove_quotes(post) == []
    assert [comment.text for comment in post.comments] == [f"> {CHINESE}\n吗", CHINESE]
