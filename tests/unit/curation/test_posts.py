"""Records to posts and threads."""

from typing import Any

import pytest

from megatron_redone.curation.posts import keep_comments, parse_post, walk
from megatron_redone.formats.input_records import InvalidRecordError
from tests.helpers.threads import THREAD


def test_replies_to_a_dropped_comment_take_its_place() -> None:
    post = parse_post(THREAD)
    kept = keep_comments(post.comments, lambda comment: comment.author != "momo")
    assert [comment.author for comment in kept] == ["小李", "阿强", None, "阿强"]


def test_a_flat_list_becomes_the_tree_that_it_tells_of() -> None:
    flat = [
        {"id": 1, "parent": None, "text": "a"},
        {"id": 3, "parent": 2, "text": "c"},
        {"id": 2, "parent": "1", "text": "b"},
        {"id": 4, "parent": "gone", "text": "d"},
        "e",
    ]
    post = parse_post({"text": "x", "comments": flat})
    assert [comment.text for comment in post.comments] == ["a", "d", "e"]
    assert [comment.text for comment in walk(post.comments)] == ["a", "b", "c", "d", "e"]


def test_a_long_chain_of_replies_is_read_and_walked() -> None:
    flat = [{"id": i, "parent": i - 1 if i else None, "text": str(i)} for i in range(5000)]
    post = parse_post({"text": "x", "comments": flat})
    assert [comment.text for comment in walk(post.comments)] == [str(i) for i in range(5000)]


def test_whole_numbers_may_be_written_as_tables_write_them_beside_missing_ones() -> None:
    flat = [{"id": 1, "parent": None, "text": "a", "likes": 3.0}, {"id": 2, "parent": 1.0, "text": "b", "likes": None}]
    post = parse_post({"text": "x", "id": 7.0, "comments": flat})
    assert post.id == "7" and post.comments[0].likes == 3 and isinstance(post.comments[0].likes, int)
    assert [reply.text for reply in post.comments[0].replies] == ["b"]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (
            {"text": "x", "comments": [{"id": 1, "parent": 2, "text": "a"}, {"id": 2, "parent": 1, "text": "b"}]},
            "comments reply to each other in a circle",
        ),
        (
            {"text": "x", "comments": [{"id": 1, "text": "a"}, {"id": 1, "parent": 1, "text": "b"}]},
            "two comments have the id '1'",
        ),
        ({"content": "x"}, "no key 'text'"),
        ({"text": " "}, "empty text"),
        ({"text": 3}, "'text' is a number, not a string"),
        ({"text": "x", "comments": "y"}, "'comments' is a string, not an array"),
        ({"text": "x", "comments": [1]}, "a comment is a number, not an object"),
        ({"text": "x", "comments": [{"text": None, "likes": "many"}]}, "a comment's 'likes' is a string, not a number"),
        ({"text": "x", "comments": [{"text": "a", "likes": 2.5}]}, r"a comment's 'likes' is 2\.5, not a whole number"),
        ({"text": "x", "id": 2.0**53}, "'id' is a number, not a string"),
        ({"text": "x", "id": 0.5}, "'id' is a number, not a string"),
        ({"text": "x", "id": True}, "'id' is a boolean, not a string"),
    ],
)
def test_other_records_are_refused_with_a_reason(record: Any, reason: str) -> None:
    with pytest.raises(InvalidRecordError, match=f"^{reason}$"):
        parse_post(record)
