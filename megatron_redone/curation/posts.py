"""A post with its comments, as it comes in one JSON record."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from megatron_redone.formats.input_records import InvalidRecordError
from megatron_redone.formats.json_values import json_type

# Replies below are shown at this depth; nested lists cannot be deeper than JSON may.
_DEEPEST = 60

# Larger ones a float leaves out.
_LAST_WHOLE = 2**53 - 1


@dataclass
class Comment:
    """A comment, or a reply to one."""

    text: str
    author: str | None = None
    likes: int = 0
    replies: list["Comment"] = field(default_factory=list)


@dataclass
class Post:
    """What one document is made from.

    Attributes:
        letters: Who bears which letter, by name, once mentions in the texts are written with them: the letters stay,
            also when comments go.
    """

    text: str
    id: str | None = None
    title: str = ""
    author: str | None = None
    topic: str | None = None
    comments: list[Comment] = field(default_factory=list)
    letters: dict[str, str] | None = None


def parse_post(record: dict[str, Any]) -> Post:
    """Reads `{"id", "title", "text", "author", "topic", "comments": [{"text", "author", "likes", "replies"}]}`.

    All keys but one of `text` and `title` may be missing; a comment may be a plain string. Comments may as well
    be a flat list whose members have `id`, and `parent` where they reply to another of them; one whose parent is
    not in the list is a comment on the post.

    Raises:
        InvalidRecordError: the record is something else.
    """
    title, text = _text(record, "title"), _text(record, "text")
    if not text.strip() and not title.strip():
        raise InvalidRecordError(_why_no_text(record))
    return Post(
        text=text,
        id=_name(record, "id"),
        title=title,
        author=_name(record, "author"),
        topic=_name(record, "topic"),
        comments=_parse_comments(comments) if (comments := _list(record, "comments")) else [],
    )


def walk(comments: list[Comment]) -> Iterator[Comment]:
    """Comments and their replies, in reading order."""
    for comment in comments:
        yield comment
        yield from walk(comment.replies)


def comment_texts(posts: Iterable[Post]) -> list[str]:
    """The texts of all comments of some posts."""
    return [comment.text for post in posts if post.comments for comment in walk(post.comments)]


def keep_comments(comments: list[Comment], keep: Callable[[Comment], bool]) -> list[Comment]:
    """The comments that `keep` accepts; replies to one that it does not accept take its place."""
    result = []
    for comment in comments:
        comment.replies = keep_comments(comment.replies, keep)
        result += [comment] if keep(comment) else comment.replies
    return result


def _parse_comments(items: list[Any]) -> list[Comment]:
    comments = [_parse_comment(item) for item in items]
    if not any(isinstance(item, dict) and item.get("parent") is not None for item in items):
        return comments
    by_id: dict[str, int] = {}
    for number, item in enumerate(items):
        name = _name(item, "id") if isinstance(item, dict) else None
        if name is not None and by_id.setdefault(name, number) != number:
            raise InvalidRecordError(f"two comments have the id '{name}'")
    parents = [_name(item, "parent") if isinstance(item, dict) else None for item in items]
    return _as_tree(comments, [None if name is None else by_id.get(name) for name in parents])


def _as_tree(comments: list[Comment], parents: list[int | None]) -> list[Comment]:
    """Hangs comments below those that they reply to; too deep ones below the deepest that is allowed."""
    depths: dict[int, int] = {}
    for number in range(len(comments)):
        path: list[int] = []
        place: int | None = number
        while place is not None and place not in depths:
            if len(path) > len(comments):
                raise InvalidRecordError("comments reply to each other in a circle")
            path.append(place)
            place = parents[place]
        depth = -1 if place is None else depths[place]
        for one in reversed(path):
            above = parents[one]
            if depth == _DEEPEST:
                assert above is not None, "what is deep has something above it"
                parents[one] = parents[above]
            depth = min(depth + 1, _DEEPEST)
            depths[one] = depth
    for number, parent in enumerate(parents):
        if parent is not None:
            comments[parent].replies.append(comments[number])
    return [comment for number, comment in enumerate(comments) if parents[number] is None]


def _parse_comment(item: Any) -> Comment:
    if isinstance(item, str):
        return Comment(item)
    if not isinstance(item, dict):
        raise InvalidRecordError(f"a comment is a {json_type(item)}, not an object")
    likes = _whole(item.get("likes") or 0)
    if isinstance(likes, float):
        raise InvalidRecordError(f"a comment's 'likes' is {likes}, not a whole number")
    if not isinstance(likes, int):
        raise InvalidRecordError(f"a comment's 'likes' is a {json_type(likes)}, not a number")
    replies = [_parse_comment(reply) for reply in _list(item, "replies")]
    return Comment(_text(item, "text"), _name(item, "author"), likes, replies)


def _why_no_text(record: dict[str, Any]) -> str:
    """The words of `formats.reader`, which reads the same records."""
    if "text" not in record:
        return "no key 'text'"
    return "no text" if record["text"] is None else "empty text"


def _text(record: dict[str, Any], key: str) -> str:
    value = record.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidRecordError(f"'{key}' is a {json_type(value)}, not a string")
    return value


def _name(record: dict[str, Any], key: str) -> str | None:
    """An identifier, which many exports write as a number."""
    value = _whole(record.get(key))
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise InvalidRecordError(f"'{key}' is a {json_type(value)}, not a string")


def _whole(value: Any) -> Any:
    """3.0 is 3: so a table writes whole numbers in a column where some are missing, as far as it can hold them."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) <= _LAST_WHOLE else value


def _list(record: dict[str, Any], key: str) -> list[Any]:
    value = record.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidRecordError(f"'{key}' is a {json_type(value)}, not an array")
    return value
