"""A post with its comments as one document.

    title
    text

    - A: first comment
      - OP: the post's author replies
      - B: a reply
    - a comment without an author

Nobody's name is written: commenters are A, B, C ... in the order in which they speak, the post's
author is OP, and an @mention of one of them bears the same letter. When comments go afterwards, those who stay keep
their letters, so that A need not be among them.
"""

import string

from megatron_redone.curation.cleaning import mask_mentions
from megatron_redone.curation.posts import Comment, Post, walk

POST_AUTHOR = "OP"


def render(post: Post, show_authors: bool = True) -> str:
    """The document's text.

    Args:
        post: The post.
        show_authors: Put letters before comments whose author is known.
    """
    head = f"{post.title}\n{post.text}" if post.title and post.text else post.title or post.text
    if not post.comments:
        return head
    letters = _letters_of(post) if show_authors else {}
    lines = [line for comment in post.comments for line in _lines(comment, letters, depth=0)]
    return "\n\n".join(part for part in (head, "\n".join(lines)) if part)


def pseudonyms(post: Post) -> dict[str, str]:
    """A letter for every commenter by name: A to Z, then AA and so on; OP for the post's author."""
    names = {} if post.author is None else {post.author: POST_AUTHOR}
    for comment in walk(post.comments):
        if comment.author is not None and comment.author not in names:
            names[comment.author] = _letters(len(names) - (post.author is not None))
    return names


def hide_mentions(post: Post) -> None:
    """Replaces @mentions in the post and its comments by letters of those who speak, else by `@user`."""
    if not post.comments and "@" not in post.text and "@" not in post.title:
        return
    names = post.letters = pseudonyms(post)
    post.title, post.text = mask_mentions(post.title, names), mask_mentions(post.text, names)
    for comment in walk(post.comments):
        comment.text = mask_mentions(comment.text, names)


def _letters_of(post: Post) -> dict[str, str]:
    return pseudonyms(post) if post.letters is None else post.letters


def _lines(comment: Comment, letters: dict[str, str], depth: int) -> list[str]:
    name = letters.get(comment.author) if comment.author is not None else None
    text = " ".join(comment.text.split("\n"))
    first = "  " * depth + f"- {name}: {text}" if name else "  " * depth + f"- {text}"
    return [first, *(line for reply in comment.replies for line in _lines(reply, letters, depth + 1))]


def _letters(number: int) -> str:
    """0 is A, 25 is Z, 26 is AA."""
    more, last = divmod(number, 26)
    return (_letters(more - 1) if more else "") + string.ascii_uppercase[last]
