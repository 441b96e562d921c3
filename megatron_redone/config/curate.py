"""Keys of `redone curate`."""

import enum
import re
from dataclasses import dataclass

from megatron_redone.config.field import key
from megatron_redone.config.tokenizer import TokenizerConfig
from megatron_redone.errors import UserError


class SourceKind(enum.Enum):
    """How a source's texts are treated.

    General texts keep their links, mentions and runs of characters, and are not searched for
    contact advertising, which stands at the foot of many honest web pages.
    """

    social = "social"
    general = "general"


class Deduplicate(enum.Enum):
    """Which duplicates are dropped, over all sources together; the first of them stays."""

    none = "none"
    exact = "exact"
    minhash = "minhash"


class Executor(enum.Enum):
    """Which of datatrove's executors runs the tasks."""

    local = "local"
    slurm = "slurm"


class OutputForm(enum.Enum):
    """One NAME.jsonl for each source, or a folder NAME of NNNNN.jsonl.gz, one for each task."""

    file = "file"
    shards = "shards"


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """Posts or texts from one origin."""

    name: str = key("what it is called in the output and in the funnel")
    input: list[str] = key("files, directories, globs or URLs of .jsonl, .jsonl.gz, .jsonl.zst or .parquet", reads=True)
    kind: SourceKind = key("general: no filter for contact advertising; links and mentions stay", SourceKind.social)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w-]+", self.name) or self.name in ("held_out", "dropped", "work"):
            raise UserError(f"name: '{self.name}' cannot be a file's name here; use letters, digits, - and _")
        if not self.input:
            raise UserError("input: the list is empty; name at least one file")


@dataclass(frozen=True, kw_only=True)
class CleanConfig:
    """What becomes of the text of a post and its comments."""

    max_run: int = key("social: a character or emoji stands at most so many times in a row", 5)
    mask_mentions: bool = key("social: @name becomes @user, or the letter of the commenter who bears the name", True)
    remove_links: bool = key("social: take links out of the text (after the filter on links)", True)
    show_authors: bool = key("comments begin with letters that stand for their authors", True)
    max_comments: int = key("comments of a post at most; the most liked ones stay", 200)

    def __post_init__(self) -> None:
        _at_least(1, max_run=self.max_run)
        _at_least(0, max_comments=self.max_comments)


@dataclass(frozen=True, kw_only=True)
class AdvertisingConfig:
    """Links, and posts that ask to get in touch elsewhere."""

    contacts: bool = key("social: drop posts and comments that advertise an account, a number or an offer", True)
    max_links: int = key("social: links of a post or a comment at most", 5)
    max_link_share: float = key("share of a text's characters that may be links", 0.8)

    def __post_init__(self) -> None:
        _at_least(0, max_links=self.max_links)
        _shares(max_link_share=self.max_link_share)


@dataclass(frozen=True, kw_only=True)
class RepetitionConfig:
    """Shares above which a document repeats itself too much."""

    top_unit: float = key("share of the most frequent word (Chinese: character); laughter does not count", 0.6)
    repeated_ngrams: float = key("share of words in n-grams that stood before; the first twelve are free", 0.3)
    ngram: int = key("words (Chinese: characters) of such an n-gram", 6)
    repeated_lines: float = key("share of the characters that are in lines that stood before", 0.3)
    emoji: float = key("share of emoji among words and emoji", 0.7)

    def __post_init__(self) -> None:
        _at_least(2, ngram=self.ngram)
        _shares(
            top_unit=self.top_unit,
            repeated_ngrams=self.repeated_ngrams,
            repeated_lines=self.repeated_lines,
            emoji=self.emoji,
        )


@dataclass(frozen=True, kw_only=True)
class LengthConfig:
    """Length in letters and digits, of which a Chinese character counts for three and a kana or Hangul for two."""

    min_social: int = key("shortest document of a social source", 12)
    min_general: int = key("shortest document of a general source", 100)
    max: int = key("longest document", 1_000_000)

    def __post_init__(self) -> None:
        _at_least(0, min_social=self.min_social, min_general=self.min_general)
        _at_least(1, max=self.max)


@dataclass(frozen=True, kw_only=True)
class MinHashConfig:
    """datatrove's MinHash: two documents match if they agree on all hashes of one bucket.

    With the defaults documents of Jaccard similarity 0.72 match with even odds, of 0.8 with 92 %.
    """

    ngram: int = key("words (Chinese: characters) of one shingle; shorter documents are compared as a whole", 5)
    buckets: int = key("more buckets find more", 14)
    hashes_per_bucket: int = key("more hashes ask for more likeness", 8)
    seed: int = key("seed of the hash functions", 1)

    def __post_init__(self) -> None:
        _at_least(1, ngram=self.ngram, buckets=self.buckets, hashes_per_bucket=self.hashes_per_bucket)


@dataclass(frozen=True, kw_only=True)
class HeldOutConfig:
    """Documents kept for validation, chosen by a hash of their text: the same ones whatever else is added."""

    share: float = key("share of each source's documents; 0 holds none out", 0.01)
    max_documents: int = key("documents of each source at most", 1000)
    max_jaccard: float = key("training documents at least so similar to one held out are dropped", 0.5)
    seed: int = key("another seed holds out others", 0)

    def __post_init__(self) -> None:
        _shares(share=self.share, max_jaccard=self.max_jaccard)
        _at_least(1, max_documents=self.max_documents)


@dataclass(frozen=True, kw_only=True)
class SlurmConfig:
    """What `sbatch` is told."""

    partition: str = key("partition", "")
    time: str = key("time limit of a task", "12:00:00")
    memory_gb: int = key("memory of a task", 4)
    tasks_per_job: int = key("tasks that one job of the array does one after the other", 1)
    qos: str = key("quality of service; empty leaves it to Slurm", "")
    environment: str = key("shell command before each job, such as `source venv/bin/activate`", "")
    arguments: list[str] = key("further `name=value` arguments of sbatch, such as account=research", [])

    def __post_init__(self) -> None:
        _at_least(1, memory_gb=self.memory_gb, tasks_per_job=self.tasks_per_job)
        if bad := [text for text in self.arguments if "=" not in text]:
            raise UserError(f"arguments: '{bad[0]}' is not of the form name=value")


@dataclass(frozen=True, kw_only=True)
class CurateConfig:
    """Raw posts and texts to clean, deduplicated documents."""

    sources: list[SourceConfig] = key("where posts and texts come from")
    output_dir: str = key(
        "NAME.jsonl, held_out/, dropped/, funnel.json and manifest.json are written there", writes=True
    )
    clean: CleanConfig = key("cleaning", CleanConfig)
    advertising: AdvertisingConfig = key("links and advertising", AdvertisingConfig)
    repetition: RepetitionConfig = key("repetition", RepetitionConfig)
    length: LengthConfig = key("length", LengthConfig)
    deduplicate: Deduplicate = key("minhash drops exact and near duplicates", Deduplicate.minhash)
    minhash: MinHashConfig = key("near duplicates", MinHashConfig)
    held_out: HeldOutConfig = key("validation documents", HeldOutConfig)
    tokenizer: TokenizerConfig | None = key("count tokens with this tokenizer; null leaves them out", None)
    output: OutputForm = key("one file for each source, or compressed shards", OutputForm.file)
    executor: Executor = key("where the tasks run", Executor.local, decides=False)
    slurm: SlurmConfig = key("where executor is slurm", SlurmConfig, decides=False)
    tasks: int = key("parts the input is cut into; 0 takes one for each 64 MB", 0, decides=False)
    workers: int = key(
        "tasks at the same time; 0 takes one for each core, with Slurm as many as it gives", 0, decides=False
    )
    max_rejected: float = key("stop when more than this share of the records is malformed", 0.01, decides=False)
    overwrite: bool = key("replace a finished output that was made with other settings or inputs", False, decides=False)

    def __post_init__(self) -> None:
        names = [source.name for source in self.sources]
        if not names:
            raise UserError("sources: the list is empty; name at least one")
        if twice := [name for name in names if names.count(name) > 1]:
            raise UserError(f"sources: two are called '{twice[0]}'; give each a name of its own")
        _at_least(0, tasks=self.tasks, workers=self.workers)
        _shares(max_rejected=self.max_rejected)
        if self.executor is Executor.slurm and not self.slurm.partition:
            raise UserError("slurm.partition: name the partition to submit to")


def _at_least(least: int, **values: int) -> None:
    for name, value in values.items():
        if value < least:
            raise UserError(f"{name}: {value} is less than {least}")


def _shares(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise UserError(f"{name}: {value:g} is not a share between 0 and 1")
