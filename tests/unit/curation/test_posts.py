"""Records to posts, threads, and one document for a post with its comments."""

from typing import Any

import pytest

from megatron_redone.curation.posts import keep_comments, keep_most_liked, parse_post, walk
from megatron_redone.curation.rendering import hide_mentions, pseudonyms, render
from megatron_redone.formats.input_records import InvalidRecordError

THREAD = {
    "id": 17,
    "title": "周末去哪",
    "text": "求推荐\n不要太远",
    "author": "小李",
    "comments": [
        {
            "text": "湖边 @小李 走起",
            "author": "momo",
            "likes": 3,
            "replies": [{"text": "远吗？", "author": "小李"}, {"text": "@momo 一起", "author": "阿强", "likes": 9}],
        },
        "一句没有作者的评论",
        {"text": "两行\n评论", "author": "阿强", "likes": 1},
    ],
}


def test_a_thread_becomes_one_document_without_names() -> None:
    post = parse_post(THREAD)
    hide_mentions(post)
    assert render(post) == (
        "周末去哪\n求推荐\n不要太远\n\n"
        "- A: 湖边 @OP 走起\n  - OP: 远吗？\n  - B: @A 一起\n- 一句没有作者的评论\n- B: 两行 评论"
    )
    assert not any(name in render(post) for name in ("小李", "momo", "阿强"))


def test_letters_can_be_left_out() -> None:
    assert render(parse_post(THREAD), show_authors=False).splitlines()[4] == "- 湖边 @小李 走起"


def test_plain_text_is_itself() -> None:
    assert render(parse_post({"text": "hello\nworld"})) == "hello\nworld"


def test_letters_go_on_after_z() -> None:
    post = parse_post({"text": "x", "comments": [{"text": "y", "author": f"n{i}"} for i in range(54)]})
    letters = list(pseudonyms(post).values())
    assert letters[0] == "A" and letters[25:28] == ["Z", "AA", "AB"] and letters[52:] == ["BA", "BB"]
    assert len(set(letters)) == 54


def test_the_most_liked_comments_stay_in_their_order() -> None:
    post = parse_post(THREAD)
    left_out = keep_most_liked(post, 2)
    assert [comment.likes for comment in walk(post.comments)] == [3, 9]
    assert len(left_out) == 3


def test_replies_to_a_dropped_comment_take_its_place() -> None:
    post = parse_post(THREAD)
    kept = keep_comments(post.comments, lambda comment: comment.author != "momo")
    assert [comment.author for comment in kept] == ["小李", "阿强", None, "阿强"]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ([1], "a JSON array, not an object"),
        ({"content": "x"}, "no key 'text'"),
        ({"text": " "}, "no text"),
        ({"text": 3}, "'text' is a number, not a string"),
        ({"text": "x", "comments": "y"}, "'comments' is a string, not an array"),
        ({"text": "x", "comments": [1]}, "a comment is a number, not an object"),
        ({"text": "x", "comments": [{"text": None, "likes": "many"}]}, "a comment's 'likes' is a string, not a number"),
        ({"text": "x", "id": True}, "'id' is a boolean, not a string"),
    ],
)
def test_other_records_are_refused_with_a_reason(record: Any, reason: str) -> None:
    with pytest.raises(InvalidRecordError, match=f"^{reason}$"):
        parse_post(record)
