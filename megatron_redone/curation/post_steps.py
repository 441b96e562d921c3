"""The steps for posts with comments, as datatrove filters: each answers True, or False and why.

What they share, and how they are asked one after the other, is in `post_filter.py`.
"""

import re
from pathlib import Path

from datatrove.data import Document

from megatron_redone.config.curate import (
    AdvertisingConfig,
    CleanConfig,
    LengthConfig,
    RepetitionConfig,
    SourceKind,
    ThreadsConfig,
)
from megatron_redone.curation.advertising import find_advertising, has_link, link_fraction, with_no_sign, without_links
from megatron_redone.curation.cleaning import clean, limit_runs, remove_repost_mark
from megatron_redone.curation.fingerprint import bare_form, normal_form
from megatron_redone.curation.languages import UNKNOWN, languages_of
from megatron_redone.curation.post_filter import Answer, PostFilter, Renderer
from megatron_redone.curation.posts import Comment, Post, comment_texts, keep_comments, walk
from megatron_redone.curation.rendering import hide_mentions
from megatron_redone.curation.repetition import RepetitionLimits, find_repetition, measure_repetition
from megatron_redone.curation.scripts import weighted_length
from megatron_redone.curation.threads import SAME_TEXT, keep_ranked, ranks, reading_order, remove_quotes

_SOCIAL = SourceKind.social.name  # asked for at every step of every document

_TAG = re.compile(r"#[^#\s]+#|#\w+")


class CleanPosts(PostFilter):
    """Markup, invisible characters, runs of characters and mentions; see `cleaning`."""

    name = "clean"

    def __init__(self, config: CleanConfig, threads: ThreadsConfig, dropped: Path, renderer: Renderer) -> None:
        super().__init__(dropped, renderer)
        self.config = config
        self.threads = threads

    def filter(self, doc: Document) -> Answer:
        """Cleans a post; one without any text left is dropped."""
        post: Post = doc.metadata["post"]
        is_social = doc.metadata["kind"] == _SOCIAL
        post.title, post.text = self._cleaned(post.title, is_social), self._cleaned(post.text, is_social)
        if post.comments:
            for comment in walk(post.comments):
                self._clean_comment(doc, comment, is_social)
            post.comments = keep_comments(post.comments, lambda comment: bool(comment.text))
            self._cut_thread(doc, post)
        if not (post.title or post.text or post.comments):
            doc.metadata["comments"] = 0  # each of them is dropped by itself
            return False, "nothing left"
        if is_social and self.config.mask_mentions:
            hide_mentions(post)
        self.renderer(doc)
        return True

    def _cut_thread(self, doc: Document, post: Post) -> None:
        replies = reading_order(post.comments)
        if len(replies) > self.config.max_comments:
            ranked = ranks(replies, self.threads, doc.id)
            for comment in keep_ranked(post, ranked, [1] * len(replies), self.config.max_comments):
                self.drop_comment(doc, comment, "too many in the thread")

    def _cleaned(self, text: str, is_social: bool) -> str:
        if not text:
            return text
        text = clean(text)
        return limit_runs(remove_repost_mark(text), self.config.max_run) if is_social else text

    def _clean_comment(self, doc: Document, comment: Comment, is_social: bool) -> None:
        cleaned = self._cleaned(comment.text, is_social)
        if not cleaned:
            self.drop_comment(doc, comment, "nothing left")
        comment.text = cleaned


class DropAdvertising(PostFilter):
    """Links and contact advertising; see `advertising`."""

    name = "advertising"

    def __init__(self, config: AdvertisingConfig, remove_links: bool, dropped: Path, renderer: Renderer) -> None:
        super().__init__(dropped, renderer)
        self.config = config
        self.remove_links = remove_links
        self._with_no_sign: set[str] = set()

    def passing(self, documents: list[Document]) -> list[Document]:
        """Looks at all texts at once first."""
        posts = [document.metadata["post"] for document in documents]
        self._with_no_sign = with_no_sign([*map(_head, posts), *comment_texts(posts)])
        return super().passing(documents)

    def filter(self, doc: Document) -> Answer:
        """Drops a post that advertises; of other posts, the comments that do."""
        post: Post = doc.metadata["post"]
        is_social = doc.metadata["kind"] == _SOCIAL
        reason = self._reason(_head(post), is_social)
        if reason is not None:
            return False, reason
        if not is_social:
            return True
        has_links = self.remove_links and has_link(doc.text)
        if post.comments:
            has_links |= self._drop_comments(doc, post)
        if has_links:
            _remove_links(post)
            self.renderer(doc)
        return True

    def _drop_comments(self, doc: Document, post: Post) -> bool:
        """Takes comments out that advertise, and says whether what is left may have links to be removed."""
        reasons = {id(comment): self._reason(comment.text, True) for comment in walk(post.comments)}
        for comment in walk(post.comments):
            if (found := reasons[id(comment)]) is not None:
                self.drop_comment(doc, comment, found)
        post.comments = keep_comments(post.comments, lambda comment: reasons[id(comment)] is None)
        self.renderer(doc)
        return self.remove_links

    def measure(self, doc: Document) -> tuple[Answer, dict[str, float]]:
        """Links of the post, before they are taken out."""
        post: Post = doc.metadata["post"]
        links, fraction = link_fraction(_head(post))
        return self.filter(doc), {"advertising.max_links": links, "advertising.max_link_fraction": fraction}

    def _reason(self, text: str, is_social: bool) -> str | None:
        if not text or text in self._with_no_sign:
            return None
        links, fraction = link_fraction(text)
        if fraction > self.config.max_link_fraction:
            return "little but links"
        if not is_social:
            return None
        if links > self.config.max_links:
            return "too many links"
        return find_advertising(text) if self.config.contacts else None


class DropRepetition(PostFilter):
    """Comments that repeat or quote another, and documents that repeat themselves; see `threads`, `repetition`."""

    name = "repetition"

    def __init__(self, config: RepetitionConfig, remove_quotes: bool, dropped: Path, renderer: Renderer) -> None:
        super().__init__(dropped, renderer)
        self.remove_quotes = remove_quotes
        self.limits = RepetitionLimits(
            top_unit=config.top_unit,
            repeated_ngrams=config.repeated_ngrams,
            repeated_lines=config.repeated_lines,
            emoji=config.emoji,
            ngram=config.ngram,
        )

    def filter(self, doc: Document) -> Answer:
        """Takes repeated comments out, then looks at the document."""
        post: Post = doc.metadata["post"]
        if post.comments:
            if self.remove_quotes and doc.metadata["kind"] == _SOCIAL:
                for comment in remove_quotes(post):
                    self.drop_comment(doc, comment, "nothing but a quotation")
            self._drop_repeated(doc, post)
            self.renderer(doc)
        reason = find_repetition(doc.text, self.limits)
        if reason is not None and post.comments and find_repetition(_head(post), self.limits) is None:
            self._drop_repeating(doc, post)
            reason = find_repetition(doc.text, self.limits)
        return True if reason is None else (False, reason)

    def _drop_repeating(self, doc: Document, post: Post) -> None:
        """Where it is the comments that repeat: those go that do by themselves, or all of them."""
        for alone in (True, False):
            gone = [
                comment
                for comment in walk(post.comments)
                if not alone or find_repetition(comment.text, self.limits) is not None
            ]
            for comment in gone:
                self.drop_comment(doc, comment, "repeats itself" if alone else "the thread repeats itself")
            places = set(map(id, gone))
            post.comments = keep_comments(post.comments, lambda comment, places=places: id(comment) not in places)
            self.renderer(doc)
            if find_repetition(doc.text, self.limits) is None:
                return

    def measure(self, doc: Document) -> tuple[Answer, dict[str, float]]:
        """The shares of the document without the comments that go."""
        answer = self.filter(doc)
        shares = measure_repetition(doc.text, self.limits.ngram)
        return answer, {f"{self.name}.{key}": share for key, share in shares.items()}

    def _drop_repeated(self, doc: Document, post: Post) -> None:
        own = _without_tags(normal_form(post.text))
        seen: set[str] = set()
        repeated = set()
        for comment in walk(post.comments):
            form = _without_tags(normal_form(comment.text))
            if weighted_length(form) >= SAME_TEXT and (form in seen or _one_in_the_other(form, own)):
                repeated.add(id(comment))
                self.drop_comment(doc, comment, "said before in the thread")
            seen.add(form)
        post.comments = keep_comments(post.comments, lambda comment: id(comment) not in repeated)


class CutThreads(PostFilter):
    """Threads of too many tokens, cut down to as many comments as there is room for; see `threads`."""

    name = "threads"

    def __init__(self, config: ThreadsConfig, dropped: Path, renderer: Renderer) -> None:
        super().__init__(dropped, renderer)
        self.config = config

    def filter(self, doc: Document) -> Answer:
        """Takes comments out until the document fits; a post that is too long by itself keeps none of them."""
        post: Post = doc.metadata["post"]
        over = doc.metadata["tokens"] - self.config.max_tokens
        if over <= 0 or not post.comments:
            return True
        everyone = reading_order(post.comments)
        costs = {id(reply.comment): max(1, self._tokens(reply.comment.text)) for reply in everyone}
        places = {id(everyone[i].comment): place for place, i in enumerate(ranks(everyone, self.config, doc.id))}
        # Letters and indents go with their comments: so what is over is known only when all is rendered anew.
        while over > 0 and post.comments:
            left = [id(reply.comment) for reply in reading_order(post.comments)]
            ranked = sorted(range(len(left)), key=lambda i: places[left[i]])
            own = [costs[one] for one in left]
            for comment in keep_ranked(post, ranked, own, sum(own) - over):
                self.drop_comment(doc, comment, "too many tokens in the thread")
            self.renderer(doc)
            over = doc.metadata["tokens"] - self.config.max_tokens
        return True

    def _tokens(self, text: str) -> int:
        assert self.renderer.counter is not None, "the configuration asks for a tokenizer"
        return self.renderer.counter.count(text)


class DropByLength(PostFilter):
    """Documents that are too short or too long, in letters that weigh alike in every script."""

    name = "length"

    def __init__(self, config: LengthConfig, dropped: Path, renderer: Renderer) -> None:
        super().__init__(dropped, renderer)
        self.config = config

    def filter(self, doc: Document) -> Answer:
        """Measures a document without its links and mentions."""
        is_social = doc.metadata["kind"] == _SOCIAL
        bare = bare_form(doc.text)
        doc.metadata["form"] = bare  # which the fingerprints are made from
        length = weighted_length(bare)
        if not doc.text:
            return False, "nothing left"
        if length < (self.config.min_social if is_social else self.config.min_general):
            return False, "too short"
        if length > self.config.max:
            return False, "too long"
        return True

    def measure(self, doc: Document) -> tuple[Answer, dict[str, float]]:
        """The length, for all three of its thresholds."""
        answer = self.filter(doc)
        length = weighted_length(doc.metadata["form"])
        return answer, {f"length.{key}": length for key in ("min_social", "min_general", "max")}


class DropByLanguage(PostFilter):
    """Documents in none of the languages that their source keeps; see `languages`."""

    name = "language"

    def __init__(self, kept: dict[str, list[str]], dropped: Path, renderer: Renderer) -> None:
        super().__init__(dropped, renderer)
        self.kept = kept

    def filter(self, doc: Document) -> Answer:
        """Labels every document; one of an unknown language stays."""
        found = languages_of(doc.text)
        doc.metadata["language"] = "+".join(found)
        kept = self.kept[doc.metadata["source"]]
        if not kept or found == (UNKNOWN,) or any(code in kept for code in found):
            return True
        return False, "+".join(found)


def _head(post: Post) -> str:
    return f"{post.title}\n{post.text}".strip() if post.title else post.text.strip()


def _without_tags(text: str) -> str:
    return " ".join(_TAG.sub(" ", text).split())


def _one_in_the_other(comment: str, post: str) -> bool:
    """Whether a comment quotes the post, or is a part of it."""
    return comment in post or (weighted_length(post) >= SAME_TEXT and post in comment)


def _remove_links(post: Post) -> None:
    post.title, post.text = without_links(post.title), without_links(post.text)
    for comment in walk(post.comments):
        comment.text = without_links(comment.text)
