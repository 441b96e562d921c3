"""A post with its comments as one document, without anybody's name."""

from megatron_redone.curation.posts import keep_comments, parse_post
from megatron_redone.curation.rendering import hide_mentions, pseudonyms, render
from tests.helpers.threads import THREAD


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


def test_a_mention_of_nobody_here_names_nobody() -> None:
    post = parse_post({"title": "@momo 看", "text": "with @stranger", "comments": [{"text": "hi", "author": "momo"}]})
    hide_mentions(post)
    assert render(post) == "@A 看\nwith @user\n\n- A: hi"


def test_an_author_bears_one_letter_wherever_he_speaks() -> None:
    replies = [{"text": "z", "author": "bo"}, {"text": "w", "author": "ann"}]
    comments = [{"text": "x", "author": "ann", "replies": replies}, {"text": "v", "author": "bo"}]
    post = parse_post({"text": "t", "author": "ann", "comments": comments})
    assert pseudonyms(post) == {"ann": "OP", "bo": "A"}
    assert render(post).splitlines()[2:] == ["- OP: x", "  - A: z", "  - OP: w", "- A: v"]


def test_who_stays_keeps_the_letter_that_mentions_have() -> None:
    comments = [{"text": "buy ads", "author": "xx"}, {"text": "hi", "author": "yy"}, {"text": "@yy ok", "author": "zz"}]
    post = parse_post({"text": "t", "comments": comments})
    hide_mentions(post)
    post.comments = keep_comments(post.comments, lambda comment: comment.author != "xx")
    assert render(post).splitlines()[2:] == ["- B: hi", "- C: @B ok"]
