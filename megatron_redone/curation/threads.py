"""Reply trees: built from flat lists, cut down to some of their comments, and cleared of what they quote.

A comment stays only with those that it replies to, so that nobody answers what is not there.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from megatron_redone.config.curate import ChooseComments, ThreadsConfig
from megatron_redone.curation.fingerprint import form_hash, normal_form
from megatron_redone.curation.posts import Comment, Post, keep_comments
from megatron_redone.curation.scripts import weighted_length

# A shorter text may be said by many: "+1", "哈哈哈", "so true".
SAME_TEXT = 20

_QUOTED_LINES = re.compile(r"(?:^[ \t]*[>＞][^\n]*(?:\n|\Z))+", re.MULTILINE)
_LINE_MARK = re.compile(r"^[ \t]*[>＞]+[ \t]?", re.MULTILINE)
# Weibo: "agreed//@name: what name said//@other: what was said before".
_FORWARDED = re.compile(r"//@[\w·-]+\s*[:：](?P<quoted>(?:(?!//@)[^\n])*)")
# WeChat: 「name: what was said」 and a line of dashes.
_CORNERED = re.compile(
    r"「(?:[^：:「」\n]{1,20}[:：])?(?P<quoted>[^「」]*)」[ \t]*\n?[ \t]*[-—–_]+(?: [-—–]+)*[ \t]*\n?"
)


@dataclass(frozen=True)
class Reply:
    """A comment at its place in the tree.

    Attributes:
        comment: It.
        above: The number of the one that it replies to, in reading order; None for a comment on the post.
    """

    comment: Comment
    above: int | None


def reading_order(comments: list[Comment]) -> list[Reply]:
    """All comments of a thread."""
    found: list[Reply] = []

    def visit(ones: list[Comment], above: int | None) -> None:
        for one in ones:
            found.append(Reply(one, above))
            visit(one.replies, len(found) - 1)

    visit(comments, None)
    return found


def ranks(replies: Sequence[Reply], config: ThreadsConfig, thread: str) -> list[int]:
    """Numbers of comments in the order in which they are chosen.

    Args:
        replies: All of the thread, in reading order.
        config: The rule.
        thread: The post's id: its sample is the same wherever the post lies.
    """
    numbers = range(len(replies))
    if config.choose is ChooseComments.most_liked:
        return sorted(numbers, key=lambda i: (-replies[i].comment.likes, i))
    return sorted(numbers, key=lambda i: (form_hash(f"{thread}\n{i}", config.seed), i))


def keep_ranked(post: Post, ranked: Sequence[int], costs: Sequence[int], room: int) -> list[Comment]:
    """Cuts a thread down to the first comments of a ranking for which there is room; returns what was left out.

    Args:
        post: With all comments.
        ranked: Their numbers in reading order, the first to stay first.
        costs: What each of them takes up.
        room: How much all of them may.
    """
    replies = reading_order(post.comments)
    if sum(costs) <= room:
        return []
    kept: set[int] = set()
    for number in ranked:
        wanted = [one for one in _with_those_above(replies, number) if one not in kept]
        cost = sum(costs[one] for one in wanted)
        if cost <= room:
            kept.update(wanted)
            room -= cost
    staying = {id(replies[number].comment) for number in kept}
    post.comments = keep_comments(post.comments, lambda comment: id(comment) in staying)
    return [reply.comment for i, reply in enumerate(replies) if i not in kept]


def _with_those_above(replies: Sequence[Reply], number: int) -> Iterator[int]:
    place: int | None = number
    while place is not None:
        yield place
        place = replies[place].above


def remove_quotes(post: Post) -> list[Comment]:
    """Takes out of comments what they quote of the thread; returns copies of those that nothing else is left of.

    A quotation goes if its text stands earlier in the thread: behind the marks of Reddit (`>`), Weibo
    (`//@name:`) or WeChat (`「...」` above dashes), or unmarked if it is all of the post or of a comment above
    and long enough to be no phrase. What quotes a text that is not there stays.
    """
    said = [normal_form(part) for part in (post.title, post.text) if part]
    replies = reading_order(post.comments)
    empty = []
    for number, reply in enumerate(replies):
        above = [replies[i].comment.text for i in _with_those_above(replies, number)][1:]
        before = reply.comment.text
        form = normal_form(before)
        reply.comment.text = _without_quotes(before, said, [*above, post.text])
        if before and not weighted_length(reply.comment.text) and weighted_length(before):
            empty.append((reply.comment, before))
        said.append(form)
    gone = {id(comment) for comment, _ in empty}
    post.comments = keep_comments(post.comments, lambda comment: id(comment) not in gone)
    return [Comment(before, comment.author, comment.likes) for comment, before in empty]


def _without_quotes(text: str, said: Sequence[str], above: Sequence[str]) -> str:
    def unless_said(inner: Callable[[re.Match[str]], str]) -> Callable[[re.Match[str]], str]:
        def replaced(found: re.Match[str]) -> str:
            quoted = normal_form(inner(found))
            is_known = weighted_length(quoted) and any(quoted in one for one in said)
            return "" if is_known else found[0]

        return replaced

    kept = text
    if ">" in kept or "＞" in kept:
        kept = _QUOTED_LINES.sub(unless_said(lambda found: _LINE_MARK.sub("", found[0])), kept)
    if "//@" in kept:
        kept = _FORWARDED.sub(unless_said(lambda found: found["quoted"]), kept)
    if "「" in kept:
        kept = _CORNERED.sub(unless_said(lambda found: found["quoted"]), kept)
    for whole in above:
        if len(whole) < len(kept) and whole in kept and weighted_length(whole) >= SAME_TEXT:
            kept = kept.replace(whole, "")
    return kept if kept == text else kept.strip()
