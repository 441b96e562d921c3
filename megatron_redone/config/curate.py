"""Keys of `redone curate`."""

import enum
from dataclasses import dataclass

from megatron_redone.config import record_limits
from megatron_redone.config.field import key
from megatron_redone.config.named_input import INPUT_FILES, check_named_input
from megatron_redone.config.tokenizer import TokenizerConfig
from megatron_redone.errors import UserError


class Mode(enum.Enum):
    """What is done: all at once, or measured first, and then applied with the thresholds that a person approved."""

    run = "run"
    measure = "measure"
    apply = "apply"


class ChooseComments(enum.Enum):
    """Which comments of a thread stay where there is no room for all; each with those that it replies to."""

    most_liked = "most_liked"
    random = "random"


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
    ray = "ray"


class OutputForm(enum.Enum):
    """One NAME.jsonl for each source, or a folder NAME of NNNNN.jsonl.gz, one for each task."""

    file = "file"
    shards = "shards"


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """Posts or texts from one origin."""

    name: str = key("what it is called in the output and in the funnel")
    input: list[str] = key(INPUT_FILES, reads=True)
    languages: list[str] = key(
        "documents in these languages stay (ISO 639-1, such as [zh, en]), and those whose language is unknown; "
        "an empty list keeps all",
        [],
    )
    kind: SourceKind = key("general: no filter for contact advertising; links and mentions stay", SourceKind.social)

    def __post_init__(self) -> None:
        check_named_input(self.name, self.input, ("held_out", "dropped", "work"))


@dataclass(frozen=True, kw_only=True)
class CleanConfig:
    """What becomes of the text of a post and its comments."""

    max_run: int = key("social: a character or emoji stands at most so many times in a row", 5, at_least=1)
    mask_mentions: bool = key("social: @name becomes @user, or the letter of the commenter who bears the name", True)
    remove_links: bool = key("social: take links out of the text (after the filter on links)", True)
    show_authors: bool = key("comments begin with letters that stand for their authors", True)
    max_comments: int = key("comments of a post at most; threads.choose says which stay", 200, at_least=0)


@dataclass(frozen=True, kw_only=True)
class ThreadsConfig:
    """A post and its comments, as one document."""

    choose: ChooseComments = key(
        "which comments stay where there are too many: the most_liked, or a random sample", ChooseComments.most_liked
    )
    seed: int = key("another seed takes another sample", 0)
    max_tokens: int = key(
        "tokens of a post with its comments; comments beyond go, the post itself stays; 0 keeps all; needs tokenizer",
        0,
        at_least=0,
    )
    remove_quotes: bool = key("social: take out of a comment what it quotes of the post or earlier comments", True)


@dataclass(frozen=True, kw_only=True)
class AdvertisingConfig:
    """Links, and posts that ask to get in touch elsewhere."""

    contacts: bool = key("social: drop posts and comments that advertise an account, a number or an offer", True)
    max_links: int = key("social: links of a post or a comment at most", 5, at_least=0)
    max_link_fraction: float = key(
        "fraction of a text's characters that may be links", 0.8, at_least=0, at_most=1, formerly="max_link_fraction"
    )


PERSONAL_KINDS = ("email", "id_card", "bank_card", "phone", "ip", "wechat", "qq", "handle", "plate", "address")


@dataclass(frozen=True, kw_only=True)
class PersonalDataConfig:
    """Personal data in posts, comments and texts, replaced by placeholders such as [电话号码] or [phone number]."""

    kinds: list[str] = key("kinds that are replaced; an empty list replaces none", list(PERSONAL_KINDS))
    samples: int = key("found things of each kind that personal_data.json shows", 20, at_least=0)

    def __post_init__(self) -> None:
        if unknown := [kind for kind in self.kinds if kind not in PERSONAL_KINDS]:
            raise UserError(f"kinds: '{unknown[0]}' is none of {', '.join(PERSONAL_KINDS)}")


@dataclass(frozen=True, kw_only=True)
class RepetitionConfig:
    """Shares above which a document repeats itself too much."""

    top_unit: float = key(
        "fraction of the most frequent word (Chinese: character); laughter does not count", 0.6, at_least=0, at_most=1
    )
    repeated_ngrams: float = key(
        "fraction of words in n-grams that stood before; the first twelve are free", 0.3, at_least=0, at_most=1
    )
    ngram: int = key("words (Chinese: characters) of such an n-gram", 6, at_least=2)
    repeated_lines: float = key(
        "fraction of the characters that are in lines that stood before", 0.3, at_least=0, at_most=1
    )
    emoji: float = key("fraction of emoji among words and emoji", 0.7, at_least=0, at_most=1)


@dataclass(frozen=True, kw_only=True)
class LengthConfig:
    """Length in letters and digits, of which a Chinese character counts for three and a kana or Hangul for two."""

    min_social: int = key("shortest document of a social source", 12, at_least=0)
    min_general: int = key("shortest document of a general source", 100, at_least=0)
    max: int = key("longest document", 1_000_000, at_least=1)


class Contaminated(enum.Enum):
    """What becomes of a document that has text of an evaluation set: dropped, or left without that text."""

    drop = "drop"
    cut = "cut"


@dataclass(frozen=True, kw_only=True)
class DecontaminationConfig:
    """Text of evaluation sets, found as runs of words (Chinese: characters), whatever stands between them."""

    benchmarks: list[str] = key(
        "files or folders of evaluation sets, .csv, .json, .jsonl or .parquet; an empty list looks for none",
        [],
        reads=True,
    )
    run: int = key("words (Chinese: characters) in a row that a document has in common with an item", 13, at_least=4)
    min_letters: int = key(
        "letters (a Chinese character is three) of a whole question that is shorter than such a run, or of an option "
        "beside more of its item",
        24,
    )
    most_items: int = key("runs of more items than so many are phrases of the evaluation set itself", 3, at_least=1)
    action: Contaminated = key("drop the document, or cut the text out of it", Contaminated.drop)


@dataclass(frozen=True, kw_only=True)
class MinHashConfig:
    """Near duplicates: documents that agree on all hashes of one bucket, and are alike when compared in full.

    With the defaults 99.8 % of the pairs of Jaccard similarity 0.8 are compared. Of documents that are alike
    the longest stays.
    """

    ngram: int = key(
        "words (Chinese: characters) of one shingle; shorter documents are compared by words and three characters each",
        5,
        at_least=1,
    )
    buckets: int = key("more buckets find more", 20, at_least=1)
    hashes_per_bucket: int = key("fewer hashes find more, and compare more in vain", 6, at_least=1)
    min_jaccard: float = key("documents at least so similar are near duplicates", 0.8, at_least=0, at_most=1)
    seed: int = key("seed of the hash functions", 1)


@dataclass(frozen=True, kw_only=True)
class HeldOutConfig:
    """Documents kept for validation, chosen by a hash of their text: the same ones whatever else is added."""

    fraction: float = key(
        "fraction of each source's documents; 0 holds none out", 0.01, at_least=0, at_most=1, formerly="share"
    )
    max_documents: int = key("documents of each source at most", 1000, at_least=1)
    max_jaccard: float = key(
        "training documents at least so similar to one held out are dropped", 0.5, at_least=0, at_most=1
    )
    seed: int = key("another seed holds out others", 0)


@dataclass(frozen=True, kw_only=True)
class MeasureConfig:
    """What `mode: measure` looks at."""

    fraction: float = key("fraction of the documents, chosen by a hash of their text", 1.0, above=0, at_most=1)
    examples: int = key("documents shown of each step, and on either side of each threshold", 20, at_least=0)
    seed: int = key("another seed chooses others", 0)


@dataclass(frozen=True, kw_only=True)
class SlurmConfig:
    """What `sbatch` is told."""

    partition: str = key("partition", "")
    time: str = key("time limit of a task", "12:00:00")
    memory_gb: int = key("memory of a task", 4, at_least=1)
    tasks_per_job: int = key("tasks that one job of the array does one after the other", 1, at_least=1)
    qos: str = key("quality of service; empty leaves it to Slurm", "")
    environment: str = key("shell command before each job, such as `source venv/bin/activate`", "")
    arguments: list[str] = key("further `name=value` arguments of sbatch, such as account=research", [])

    def __post_init__(self) -> None:
        if bad := [text for text in self.arguments if "=" not in text]:
            raise UserError(f"arguments: '{bad[0]}' is not of the form name=value")


@dataclass(frozen=True, kw_only=True)
class RayConfig:
    """Which Ray runs the tasks; where there are several machines, they see input and output at the same paths."""

    address: str = key(
        "that of a Ray which is there, such as auto or HOST:6379; empty starts one on this machine for the run", ""
    )
    memory_gb: float = key("memory that a task reserves; 0 reserves none", 0, at_least=0)


@dataclass(frozen=True, kw_only=True)
class CurateConfig:
    """Raw posts and texts to clean, deduplicated documents."""

    sources: list[SourceConfig] = key("where posts and texts come from")
    output_dir: str = key(
        "NAME.jsonl, held_out/, dropped/, funnel.json and manifest.json are written there", writes=True
    )
    mode: Mode = key(
        "run; or measure what each step would drop, without dropping any; or apply the thresholds of approved_file",
        Mode.run,
    )
    approved_file: str | None = key(
        "mode apply: the thresholds.yaml that mode measure wrote, with each step approved", None, reads=True
    )
    measure: MeasureConfig = key("what is measured", MeasureConfig)
    clean: CleanConfig = key("cleaning", CleanConfig)
    threads: ThreadsConfig = key("posts with comments", ThreadsConfig)
    advertising: AdvertisingConfig = key("links and advertising", AdvertisingConfig)
    personal_data: PersonalDataConfig = key("personal data", PersonalDataConfig)
    repetition: RepetitionConfig = key("repetition", RepetitionConfig)
    length: LengthConfig = key("length", LengthConfig)
    decontamination: DecontaminationConfig = key("text of evaluation sets", DecontaminationConfig)
    deduplicate: Deduplicate = key("minhash drops exact and near duplicates", Deduplicate.minhash)
    minhash: MinHashConfig = key("near duplicates", MinHashConfig)
    held_out: HeldOutConfig = key("validation documents", HeldOutConfig)
    tokenizer: TokenizerConfig | None = key("count tokens with this tokenizer; null leaves them out", None)
    output: OutputForm = key("one file for each source, or compressed shards", OutputForm.file)
    executor: Executor = key("where the tasks run", Executor.local, decides=False)
    slurm: SlurmConfig = key("where executor is slurm", SlurmConfig, decides=False)
    ray: RayConfig = key("where executor is ray", RayConfig, decides=False)
    tasks: int = key(
        "parts the input is cut into; 0 takes one for each 64 MB, of terabytes for each 256 MB",
        0,
        decides=False,
        at_least=0,
    )
    workers: int = key(
        "tasks at the same time; 0 takes one for each core, on a cluster of Slurm or Ray as many as it gives",
        0,
        decides=False,
        at_least=0,
    )
    max_record_mb: int = record_limits.max_record_mb()
    max_invalid: float = record_limits.max_invalid()
    overwrite: bool = key("replace a finished output that was made with other settings or inputs", False, decides=False)

    def __post_init__(self) -> None:
        names = [source.name for source in self.sources]
        if not names:
            raise UserError("sources: the list is empty; name at least one")
        if twice := [name for name in names if names.count(name) > 1]:
            raise UserError(f"sources: two are called '{twice[0]}'; give each a name of its own")
        if (self.mode is Mode.apply) != (self.approved_file is not None):
            raise UserError("approved_file: is for mode=apply, which needs it")
        if self.mode is Mode.measure and self.executor is Executor.slurm:
            raise UserError("executor: what is measured is measured here; take executor=local and measure.fraction")
        if self.threads.max_tokens and self.tokenizer is None:
            raise UserError("threads.max_tokens: tokens are counted with a tokenizer; set tokenizer.path")
        if self.executor is Executor.slurm and not self.slurm.partition:
            raise UserError("slurm.partition: name the partition to submit to")
