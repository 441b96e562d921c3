"""Personal data in posts and comments, replaced by placeholders, with counts and samples by kind.

The samples show what was found with what stands around it, so that a person can see whether it was right.
They are those with the lowest hashes: the same however the input is cut into tasks.
"""

import contextlib
import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datatrove.data import Document

from megatron_redone.config.curate import PersonalDataConfig
from megatron_redone.curation.fingerprint import form_hash
from megatron_redone.curation.personal_data import Found, replace_personal_data
from megatron_redone.curation.personal_signs import with_no_sign
from megatron_redone.curation.post_filter import Answer, PostFilter, Renderer
from megatron_redone.curation.posts import Post, comment_texts, walk
from megatron_redone.formats.atomic import write_json

_AROUND = 20

Sample = tuple[int, str, str]  # hash, what was found, the text around it


class MaskPersonalData(PostFilter):
    """Puts placeholders where personal data stood; no document is dropped."""

    type = "🙈 - PERSONAL"
    name = "personal"

    def __init__(self, config: PersonalDataConfig, found: Path, renderer: Renderer) -> None:
        super().__init__(found, renderer)
        self.config = config
        self.found = found
        self._notes = _Notes(config.samples)
        self._with_no_sign: set[str] = set()

    @contextlib.contextmanager
    def opened(self, rank: int) -> Iterator[None]:
        """Writes NNNNN.json of what was found when the task ends."""
        self._notes = _Notes(self.config.samples)
        with super().opened(rank):
            yield
        self.found.mkdir(parents=True, exist_ok=True)
        write_json(self.found / f"{rank:05d}.json", self._notes.content())

    def passing(self, documents: list[Document]) -> list[Document]:
        """Looks at all texts at once first."""
        posts = [document.metadata["post"] for document in documents]
        self._with_no_sign = with_no_sign([*(post.text for post in posts), *comment_texts(posts)])
        return super().passing(documents)

    def filter(self, doc: Document) -> Answer:
        """Keeps every document."""
        post: Post = doc.metadata["post"]
        before = self._notes.total
        post.text = self._masked(post.text)
        if post.title:
            post.title = self._masked(post.title)
        if post.comments:
            for comment in walk(post.comments):
                comment.text = self._masked(comment.text)
        if self._notes.total > before:
            self.renderer(doc)
        return True

    def _masked(self, text: str) -> str:
        if text in self._with_no_sign:
            return text
        masked, found = replace_personal_data(text, self.config.kinds)
        for one in found:
            self._notes.add(one, text)
        return masked


class _Notes:
    def __init__(self, samples: int) -> None:
        self._most = samples
        self.total = 0
        self._counts: Counter[str] = Counter()
        self._samples: defaultdict[str, list[Sample]] = defaultdict(list)

    def add(self, one: Found, text: str) -> None:
        self.total += 1
        self._counts[one.kind] += 1
        around = text[max(0, one.start - _AROUND) : one.end + _AROUND]
        kept = self._samples[one.kind]
        kept.append((form_hash(around), text[one.start : one.end], around))
        if len(kept) > 2 * self._most:
            self._samples[one.kind] = heapq.nsmallest(self._most, set(kept))

    def content(self) -> dict[str, Any]:
        samples = {kind: heapq.nsmallest(self._most, set(kept)) for kind, kept in self._samples.items()}
        return {"counts": self._counts, "samples": samples}


def gather_found(folder: Path, samples: int) -> dict[str, Any]:
    """The sum of what all tasks found: counts by kind, and samples of each."""
    counts: Counter[str] = Counter()
    kept: defaultdict[str, set[Sample]] = defaultdict(set)
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        counts.update(content["counts"])
        for kind, found in content["samples"].items():
            kept[kind].update(map(tuple, found))
    shown = {
        kind: [{"found": found, "around": around} for _, found, around in heapq.nsmallest(samples, kept[kind])]
        for kind in sorted(kept)
    }
    return {"counts": dict(sorted(counts.items())), "samples": shown}
