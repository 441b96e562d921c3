"""Records to posts and threads."""

from typing import Any

import pytest

from megatron_redone.curation.posts import keep_comments, keep_most_liked, parse_post, walk
from megatron_redone.formats.input_records import InvalidRecordError
from tests.helpers.threads import THREAD


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
        ({"content": "x"}, "no key 'text'"),
        ({"text": " "}, "empty text"),
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
