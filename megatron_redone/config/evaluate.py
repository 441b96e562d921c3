"""Keys of `redone evaluate`."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from megatron_redone.config.field import key
from megatron_redone.config.parallel import Device
from megatron_redone.errors import UserError


class Group(enum.Enum):
    """Which side of the bargain a text stands on: what the model is adapted to, or what it must not forget."""

    social = "social"
    general = "general"


class AnswerKind(enum.Enum):
    """What an answer is: one label, or a list of items whose order says nothing."""

    auto = "auto"
    label = "label"
    items = "items"


class ComputeDtype(enum.Enum):
    """The type of weights and activations."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


@dataclass(frozen=True, kw_only=True)
class EvaluatedModel:
    """One Hugging Face directory, or a run's checkpoint."""

    path: str = key(
        "a Hugging Face directory with weights and tokenizer, or a run or its checkpoint, which is not exported for it",
        reads=True,
    )
    name: str | None = key("how tables call it; null takes the last part of the path", None)
    chat_template: str | None = key("a Jinja file for a model that comes without a chat template", None, reads=True)

    def __post_init__(self) -> None:
        _check_name(self.label)

    @property
    def label(self) -> str:
        """The name in tables."""
        return self.name or PurePath(self.path).name


@dataclass(frozen=True, kw_only=True)
class EvaluationSource:
    """One JSONL file, plain or compressed."""

    path: str = key("a JSONL file, or several by a glob or a directory", reads=True)
    name: str | None = key("how tables call it; null takes the file's name", None)
    max_records: int | None = key(
        "records taken, drawn by the seed; null takes the limit for all sources", None, at_least=1
    )

    def __post_init__(self) -> None:
        _check_name(self.label)

    @property
    def label(self) -> str:
        """The name in tables."""
        return self.name or PurePath(self.path).name.split(".")[0]


@dataclass(frozen=True, kw_only=True)
class HeldOutSource(EvaluationSource):
    """Texts that no stage has trained on, measured in bits per byte."""

    group: Group = key("the side that the texts stand on")
    text_key: str = key("the key of a record that holds its text", "text")
    max_characters: int | None = key("characters read of a text; null reads all", None, at_least=1)


@dataclass(frozen=True, kw_only=True)
class PreferenceSource(EvaluationSource):
    """Pairs in TRL's form: `prompt`, `chosen`, `rejected`, all strings or all lists of messages.

    Messages are read as by `redone prepare-preferences`, with `system`, `tools` and `chat_template_kwargs` beside them.
    """


@dataclass(frozen=True, kw_only=True)
class ConversationSource(EvaluationSource):
    """Conversations in OpenAI's form (`messages`); the last message is the answer that is expected.

    They are read as by `redone prepare-sft`, with `system`, `tools` and `chat_template_kwargs` beside them.
    """

    capability: str = key("what they ask of the model, for example content_understanding or information_extraction")
    answers: AnswerKind = key(
        "label: one line; items: a list in any order; auto takes items where the capability is an extraction",
        AnswerKind.auto,
    )
    max_new_tokens: int | None = key(
        "tokens of an answer at most; null takes those of the longest expected one and 16", None, at_least=1
    )

    @property
    def expects_items(self) -> bool:
        """Whether an answer is a list of items."""
        extraction = self.answers is AnswerKind.auto and "extraction" in self.capability.lower()
        return extraction or self.answers is AnswerKind.items


class Scoring(enum.Enum):
    """How SNS-Bench is scored."""

    official = "official"
    corrected = "corrected"


class HarmFormat(enum.Enum):
    """How labelled texts are stored."""

    cold = "cold"
    chinese_harm = "chinese_harm"
    table = "table"


@dataclass(frozen=True, kw_only=True)
class HarmSource:
    """Texts that are harmful or not, for the tasks `harm` and `harm_latin`."""

    format: HarmFormat = key(
        "cold: COLDataset's CSV; chinese_harm: ChineseHarm-Bench's JSON; table: any CSV or JSON, by the keys below",
        HarmFormat.cold,
    )
    text_key: str | None = key("the column of the texts; null takes the format's", None)
    label_key: str | None = key("the column of the labels; null takes the format's", None)
    harmful: list[str] = key("of a table: labels of harmful texts", [])
    harmless: list[str] = key("of a table: labels of the others", [])
    prompt: str | None = key("what is asked, with {text} in the place of the text; null takes the format's", None)
    precision: float = key("share of the found that must be harmful, where recall is taken", 0.9, above=0, at_most=1)
    rate: float = key("fraction of a text's characters that a perturbation changes", 0.3, above=0, at_most=1)
    seed: int = key("seed of the perturbations", 0)

    def __post_init__(self) -> None:
        if self.format is HarmFormat.table:
            for name in ("text_key", "label_key", "harmful", "harmless"):
                if not getattr(self, name):
                    raise UserError(f"harm.{name}: a table has no names of its own; name them")
        if both := set(self.harmful) & set(self.harmless):
            raise UserError(f"harm.harmful: '{min(both)}' is both harmful and harmless")
        if self.prompt is not None and "{text}" not in self.prompt:
            raise UserError("harm.prompt: no {text} in it, so it would ask about nothing")


@dataclass(frozen=True, kw_only=True)
class BenchmarkSource:
    """A task of lm-evaluation-harness, or a group of them, on data that lies here."""

    task: str = key(
        "sns_bench, redtrans, harm, harm_latin, mmlu_local, cmmlu_local, gsm8k_local, bbh_local, ifeval_local, "
        "bits_per_byte_local, or a task or group of `include`"
    )
    name: str | None = key("how tables call it; null takes the task's name", None)
    data: str | None = key("the folder (or file) of the benchmark's data", None, reads=True)
    include: str | None = key("a folder of harness tasks of your own", None, reads=True)
    max_records: int | None = key("items of each subset, drawn by the seed; null takes all", None, at_least=1)
    scoring: Scoring = key(
        "of SNS-Bench: as published, or with its defects mended so that gold answers score 100", Scoring.corrected
    )
    chat: bool | None = key("whether prompts go through the chat template; null takes what the task says", None)
    num_fewshot: int | None = key("worked examples before each question; null takes the task's own", None, at_least=0)
    max_new_tokens: int | None = key("tokens of an answer at most; null takes the task's", None, at_least=1)
    thinking: bool = key("whether a model that can think aloud may; its answer stands behind </think>", False)
    thinking_tokens: int = key("tokens of a thought at most, beside those of the answer", 1024, at_least=1)
    prompts: str | None = key("a JSON file of SNS-Bench's prompts by subset; null takes ours", None, reads=True)
    embedding: str | None = key(
        "the folder of bge-large-en-v1.5, for the half of QueryGen that needs it; null scores the other half alone",
        None,
        reads=True,
    )
    stand_in_embedding: str | None = key(
        "the folder of another sentence embedding; QueryGen with it is a row of its own", None, reads=True
    )
    harm: HarmSource = key("of the tasks harm and harm_latin: how texts are labelled", HarmSource)

    def __post_init__(self) -> None:
        _check_name(self.label)

    @property
    def label(self) -> str:
        """The name in tables."""
        return self.name or self.task


@dataclass(frozen=True, kw_only=True)
class BootstrapConfig:
    """The intervals."""

    resamples: int = key("resamples of the bootstrap", 2000, at_least=100)
    confidence: float = key("fraction of the resamples that lies in an interval", 0.95, above=0, below=1)
    seed: int = key("seed of the resamples", 0)


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Exported models side by side: held-out texts, preferences, and answers."""

    output: str = key("folder of evaluation.json, evaluation.md and the results per example", writes=True)
    models: list[EvaluatedModel] = key("Hugging Face directories, in the order of the tables' columns")
    base: str | None = key("name of the model that differences are taken against; null takes the first", None)
    held_out: list[HeldOutSource] = key("texts for bits per byte", [])
    preferences: list[PreferenceSource] = key("pairs of a better and a worse response", [])
    conversations: list[ConversationSource] = key("conversations for exact match", [])
    benchmarks: list[BenchmarkSource] = key("tasks of lm-evaluation-harness", [])
    max_records: int = key("records taken of a source that has no limit of its own", 1000, at_least=1)
    sample_seed: int = key("seed by which records are drawn where a source has more", 0)
    window: int = key("tokens that a long text is read at once by, at most the model's own limit", 2048, at_least=2)
    stride: int = key(
        "tokens that the window moves on by; the others are context that is not counted again", 1536, at_least=1
    )
    max_tokens: int = key("tokens of a prompt and its response; longer prompts lose their beginning", 2048, at_least=2)
    batch_size: int = key("examples of a batch at most", 32, decides=False, at_least=1)
    batch_tokens: int = key(
        "tokens of a batch at most, padding included (one long example may have more)", 4096, decides=False, at_least=1
    )
    dtype: ComputeDtype = key("type of weights and activations; auto takes bf16 on CUDA and fp32 on CPU",
                              ComputeDtype.auto)  # fmt: skip
    device: Device = key("where to compute", Device.auto, decides=False)
    bootstrap: BootstrapConfig = key("intervals", BootstrapConfig)

    def __post_init__(self) -> None:
        if not self.models:
            raise UserError("models: the list is empty; name at least one Hugging Face directory")
        if not (self.held_out or self.preferences or self.conversations or self.benchmarks):
            raise UserError("held_out: nothing to evaluate on; name held_out, preferences, conversations or benchmarks")
        for where in ("models", "held_out", "preferences", "conversations", "benchmarks"):
            _check_distinct(where, [source.label for source in getattr(self, where)])
        if self.stride >= self.window:
            raise UserError(f"stride: {self.stride} is not less than window={self.window}")
        if self.base is not None and self.base not in [model.label for model in self.models]:
            raise UserError(f"base: '{self.base}' is not the name of a model")

    @property
    def base_label(self) -> str:
        """The name of the model that the others are compared with."""
        return self.base or self.models[0].label


def _check_name(name: str) -> None:
    """Names are folders of the output too."""
    if not name or name.startswith(".") or any(character in name for character in "/\\\0"):
        raise UserError(f"name: '{name}' cannot be the name of a file; give another")


def _check_distinct(where: str, names: Sequence[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{where}: two are called '{twice}'; give them different names with name=")
