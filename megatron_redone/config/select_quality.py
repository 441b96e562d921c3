"""Keys of `redone select-quality`."""

from dataclasses import dataclass

from megatron_redone.config.evaluate import ComputeDtype
from megatron_redone.config.field import key
from megatron_redone.config.named_input import INPUT_FILES, check_named_input
from megatron_redone.config.parallel import Device
from megatron_redone.errors import UserError


@dataclass(frozen=True, kw_only=True)
class DocumentsConfig:
    """Documents of one origin, as `redone curate` writes them."""

    name: str = key("what it is called in the output and in the report")
    input: list[str] = key(INPUT_FILES, reads=True)

    def __post_init__(self) -> None:
        check_named_input(self.name, self.input, ("random", "dropped", "scores", "work"))


@dataclass(frozen=True, kw_only=True)
class PerplexityConfig:
    """The score of a document is the mean loss of its tokens under a small language model, in nats."""

    model: str | None = key(
        "a Hugging Face directory or hub name of a causal model; null where a classifier scores",
        None,
        reads=True,
        or_hub=True,
    )
    tokens: int = key("tokens of a document that are read, from its beginning", 512, at_least=1)
    dtype: ComputeDtype = key(
        "type of weights and activations; auto takes bf16 on CUDA and fp32 on CPU", ComputeDtype.auto
    )
    device: Device = key("where to compute", Device.auto, decides=False)
    batch_size: int = key("documents of a batch at most", 64, decides=False, at_least=1)
    batch_tokens: int = key("tokens of a batch at most, padding included", 8192, decides=False, at_least=1)


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """The score of a document is the probability of a label, from 0 to 1."""

    file: str | None = key(
        "a file of a fastText model (.bin, .ftz), or of a scikit-learn pipeline over texts (.joblib, .pkl)",
        None,
        reads=True,
    )
    label: str = key("the label whose probability is the score", "1")
    trusted: bool = key(
        "a .joblib or .pkl file can run any code when it is read: true says that you know where it is from",
        False,
        decides=False,
    )


@dataclass(frozen=True, kw_only=True)
class SelectQualityConfig:
    """Documents scored by a small model, and cut by percentile within source, language and length."""

    sources: list[DocumentsConfig] = key("documents to choose from")
    output_dir: str = key("NAME.jsonl, random/, dropped/, scores/ and quality.json are written there", writes=True)
    perplexity: PerplexityConfig = key("a language model as the scorer", PerplexityConfig)
    classifier: ClassifierConfig = key("a classifier as the scorer", ClassifierConfig)
    keep_from: float = key("percentile of the score, from 0 to 1, above which documents stay", 0.0, at_least=0, below=1)
    keep_to: float = key("percentile up to which they stay", 0.9, above=0, at_most=1)
    lengths: list[int] = key(
        "borders of classes of length, in letters of which a Chinese character counts for three", [32, 96, 320, 1280]
    )
    least_documents: int = key(
        "a class of fewer documents is joined with the next length; a language with fewer, with other languages",
        100,
        at_least=1,
    )
    random_cut: bool = key("write random/NAME.jsonl, as many documents of each class drawn by chance", True)
    seed: int = key("another seed draws others", 0)
    examples: int = key("documents of each source shown around each percentile in quality.json", 3, at_least=0)
    block_documents: int = key("documents scored before what is known of them is saved", 4096, at_least=1)
    job: int | None = key(
        "score only part I of `jobs` and stop: one task of a scheduler's array; the command without it does the rest",
        None,
        decides=False,
        at_least=0,
    )
    jobs: int = key("parts that job counts, from 0", 1, decides=False, at_least=1)
    max_invalid: float = key(
        "stop when more than this fraction of the records is invalid", 0.01, decides=False, at_least=0, at_most=1
    )
    overwrite: bool = key("replace a finished output that was made with other settings or inputs", False, decides=False)

    def __post_init__(self) -> None:
        names = [source.name for source in self.sources]
        if not names:
            raise UserError("sources: the list is empty; name at least one")
        if twice := [name for name in names if names.count(name) > 1]:
            raise UserError(f"sources: two are called '{twice[0]}'; give each a name of its own")
        if (self.perplexity.model is None) == (self.classifier.file is None):
            raise UserError("perplexity.model: name a model here, or a file in classifier.file, and not both")
        if self.keep_from >= self.keep_to:
            raise UserError(f"keep_from: {self.keep_from:g} is not below keep_to={self.keep_to:g}")
        if any(a >= b for a, b in zip(self.lengths, self.lengths[1:], strict=False)):
            raise UserError("lengths: each border must be above the one before")
        if self.job is not None and self.job >= self.jobs:
            raise UserError(f"job: {self.job} is none of {self.jobs} jobs, which count from 0; raise jobs")
