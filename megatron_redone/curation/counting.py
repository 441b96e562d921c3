"""How many documents, comments, characters and tokens enter and leave each step, by source."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from megatron_redone.config.tokenizer import TokenizerConfig
from megatron_redone.formats.atomic import write_json

# Documents counted together: counting a few at once takes half the time, and holds few in memory.
_AT_ONCE = 32

if TYPE_CHECKING:
    from megatron_redone.tokenization.tokenizer import Tokenizer


@dataclass(slots=True)
class Amount:
    """An amount of text.

    Attributes:
        documents: Posts, or records where they are not read yet.
        comments: Comments and replies inside of them.
        characters: Of their texts.
        tokens: 0 where no tokenizer is given.
    """

    documents: int = 0
    comments: int = 0
    characters: int = 0
    tokens: int = 0

    def add_documents(self, documents: Sequence[Document]) -> None:
        """Counts some documents more."""
        known = [document.metadata for document in documents]
        self.documents += len(documents)
        self.characters += sum([len(document.text) for document in documents])
        self.comments += sum([metadata.get("comments", 0) for metadata in known])
        self.tokens += sum([metadata.get("tokens", 0) for metadata in known])

    def add(self, other: "Amount") -> None:
        """Counts another amount too."""
        self.documents += other.documents
        self.comments += other.comments
        self.characters += other.characters
        self.tokens += other.tokens


@dataclass(frozen=True)
class Flow:
    """What entered a step and what left it, of one source."""

    entered: Amount
    left: Amount


class Counted(PipelineStep):
    """Another datatrove step, with its flow written to FOLDER/STEP/NNNNN.json when a task ends."""

    type = "🧮 - COUNTED"

    def __init__(self, name: str, step: PipelineStep, folder: Path) -> None:
        self.name = name
        super().__init__()
        self.step = step
        self.folder = folder

    def run(self, data: Iterator[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Runs the step."""
        entered: defaultdict[str, Amount] = defaultdict(Amount)
        left: defaultdict[str, Amount] = defaultdict(Amount)

        yield from _counted(self.step.run(_counted(data or (), entered), rank, world_size), left)
        write_flow(self.folder / self.name, rank, {name: Flow(entered[name], left[name]) for name in entered})


def _counted(data: Iterable[Document], amounts: defaultdict[str, Amount]) -> Iterator[Document]:
    documents = iter(data)
    while some := list(islice(documents, _AT_ONCE)):
        add_by_source(some, amounts.__getitem__)
        yield from some


def add_by_source(documents: Sequence[Document], amount_of: Callable[[str], Amount]) -> None:
    """Counts some documents more, each in the amount of its source."""
    sources = {document.metadata["source"] for document in documents}
    for source in sources:
        own = documents if len(sources) == 1 else [one for one in documents if one.metadata["source"] == source]
        amount_of(source).add_documents(own)


def write_flow(folder: Path, rank: int, flows: dict[str, Flow]) -> None:
    """Writes one task's flow by source."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {name: [astuple(flow.entered), astuple(flow.left)] for name, flow in flows.items()}
    write_json(folder / f"{rank:05d}.json", content)


def read_flows(folder: Path) -> dict[str, Flow]:
    """The sum over all tasks, by source."""
    total: dict[str, Flow] = {}
    for path in sorted(folder.glob("*.json")):
        for name, (entered, left) in json.loads(path.read_text()).items():
            flow = total.setdefault(name, Flow(Amount(), Amount()))
            flow.entered.add(Amount(*entered))
            flow.left.add(Amount(*left))
    return total


class TokenCounter:
    """Counts tokens; loads its tokenizer in the process that first asks."""

    def __init__(self, config: TokenizerConfig) -> None:
        """Remembers which tokenizer."""
        self.config = config

    def __getstate__(self) -> dict[str, Any]:
        return {"config": self.config}

    @cached_property
    def _tokenizer(self) -> "Tokenizer":
        from megatron_redone.tokenization.tokenizer import Tokenizer  # half a second, which few runs need

        return Tokenizer(self.config, fast=False)

    def count(self, text: str) -> int:
        """Tokens of a text, without those that stand around a document."""
        return len(self._tokenizer.encode(text))
