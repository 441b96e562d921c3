"""Keys of `redone build-preferences`."""

import enum
import re
from dataclasses import dataclass

from megatron_redone.config import record_limits
from megatron_redone.config.field import key
from megatron_redone.config.model import Precision, check_plain
from megatron_redone.config.parallel import Device
from megatron_redone.errors import UserError

_FILE_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*")
_REPLY_KEYS = ("{question}", "{first}", "{second}")

JUDGE_PROMPT = """\
Below are a user's message and two answers to it. Judge how helpful, correct, relevant and well written each \
answer is. The order in which the answers stand must not matter, nor their length.

[Message]
{question}
[End of message]

[Answer A]
{first}
[End of answer A]

[Answer B]
{second}
[End of answer B]

Explain your judgement in a few sentences. Then end with one line of this form, with a number from 1 to 10 for each:
Scores: <A> <B>"""


class LabelKind(enum.Enum):
    """How an annotator says which response is better."""

    choice = "choice"
    rating = "rating"
    ranking = "ranking"


class Scorer(enum.Enum):
    """How an answer is compared with the gold answer; `curation/benchmark_scorers.py` says what each does."""

    exact = "exact"
    label = "label"
    label_path = "label_path"
    label_set = "label_set"
    level = "level"
    word_list = "word_list"
    options = "options"
    number = "number"


class Engine(enum.Enum):
    """What generates answers."""

    auto = "auto"
    transformers = "transformers"
    vllm = "vllm"


class Likelihood(enum.Enum):
    """What the policy's log-probability of an answer is: the sum over its tokens, or their mean."""

    sum = "sum"
    mean = "mean"


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """Records, and what a user says in them."""

    input: list[str] = key("files, directories, globs or URLs of .json (an array), .jsonl or .parquet", reads=True)
    prompt: str = key(
        "the user's message, with keys of the record in braces; one key alone may hold a list of messages, without "
        "tool calls",
        "{prompt}",
    )
    id_key: str | None = key("the key that identifies a record; null takes its file's name and its place there", None)

    def __post_init__(self) -> None:
        if not self.input:
            raise UserError("input: the list is empty; name at least one file")
        if not re.search(r"\{\w+\}", self.prompt):
            raise UserError("prompt: names no key of the record; write it in braces, for example {instruction}")


@dataclass(frozen=True, kw_only=True)
class LabelsConfig:
    """What people said about the responses."""

    annotators: list[str] = key("keys of a record, one for each annotator; a missing or null one gave no label")
    kind: LabelKind = key(
        "choice: the better response's number from 1, 0 for a tie; rating: a number for each response; "
        "ranking: response numbers, best first",
        LabelKind.choice,
    )

    def __post_init__(self) -> None:
        if not self.annotators:
            raise UserError("annotators: the list is empty; name at least one key")


@dataclass(frozen=True, kw_only=True)
class AnnotatedConfig:
    """Pairs from people's labels."""

    name: str = key("pairs are written to OUTPUT_DIR/NAME.jsonl")
    source: SourceConfig = key("the records")
    responses: list[str] = key("keys that hold the responses, or one key with a list of them")
    labels: LabelsConfig = key("what people said about them")
    min_margin: float = key(
        "least lead of the chosen response: of its mean rating, or votes for less votes against, over all votes",
        0.0,
        at_least=0,
    )
    min_annotators: int = key("least labels of a pair", 1, at_least=1)

    def __post_init__(self) -> None:
        _check_name(self.name)
        if self.labels.kind is not LabelKind.rating and self.min_margin > 1:
            raise UserError(f"min_margin: {self.min_margin} is more than all votes (1)")
        if self.min_annotators > len(self.labels.annotators):
            raise UserError(f"min_annotators: {self.min_annotators} is more than the number of annotators")


@dataclass(frozen=True, kw_only=True)
class EndpointConfig:
    """A server that speaks OpenAI's chat completions protocol: vLLM, SGLang, llama.cpp, a provider's."""

    base_url: str = key("up to and with the version, for example http://localhost:8000/v1")
    model: str = key("the model's name there")
    api_key_env: str | None = key("environment variable that holds the key; null sends none", None, decides=False)
    prompt: str = key(
        "what the judge is asked, with {question}, {first} and {second}; it must make it end in 'Scores: 7 4'",
        JUDGE_PROMPT,
    )
    temperature: float = key("of the judge", 0.0, at_least=0)
    max_tokens: int = key("most tokens of an answer", 1024, at_least=1)
    timeout_s: float = key("seconds after which an answer is no longer waited for", 120.0, decides=False, above=0)
    retries: int = key(
        "further tries after a busy or failing server, each after twice the time", 5, decides=False, at_least=0
    )
    concurrency: int = key("questions that are open at once", 8, decides=False, at_least=1)

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")):
            raise UserError(f"base_url: '{self.base_url}' does not begin with http:// or https://")
        missing = [name for name in _REPLY_KEYS if name not in self.prompt]
        if missing:
            raise UserError(f"prompt: {missing[0]} is missing")


@dataclass(frozen=True, kw_only=True)
class JudgedConfig:
    """Pairs from a judge that first has to agree with people."""

    name: str = key("pairs are written to OUTPUT_DIR/NAME.jsonl")
    source: SourceConfig = key("the records to be judged")
    responses: list[str] = key("keys that hold the responses, or one key with a list of them")
    human: str = key("name of an entry of `annotated`, on whose labels the judge is measured first")
    scores: list[str] = key(
        'files of the judge\'s scores: {"id", "order": [1, 2], "scores": [7, 4]}, both orders of each pair',
        [],
        reads=True,
    )
    human_scores: list[str] = key("the same for the records of `human`; empty takes `scores`", [], reads=True)
    endpoint: EndpointConfig | None = key("a server that is asked instead of files", None)
    # 0.61 is where "substantial" agreement begins: Landis and Koch, Biometrics 33 (1977), p. 165.
    min_agreement: float = key(
        "least Cohen's kappa with the majority of the annotators; below it nothing is built",
        0.61,
        at_least=-1,
        at_most=1,
    )
    min_measured: int = key("least pairs on which that must have been measured", 30, at_least=1)
    min_margin: float = key("least lead of the chosen response in the judge's mean score", 0.0, at_least=0)

    def __post_init__(self) -> None:
        _check_name(self.name)
        if bool(self.scores) == (self.endpoint is not None):
            raise UserError("scores: give either files of scores or an endpoint")
        if self.human_scores and not self.scores:
            raise UserError("human_scores: counts beside scores only")


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """The model that is to be trained, as a Hugging Face directory."""

    path: str = key("a Hugging Face directory, for example from `redone export-hf`", reads=True)
    chat_template: str | None = key("a Jinja file to use instead of the tokenizer's own template", None, reads=True)
    engine: Engine = key("auto takes vLLM where it is installed and a CUDA device is there", Engine.auto)
    precision: Precision = key("type of weights and activations", Precision.fp32)
    device: Device = key("where transformers computes", Device.auto, decides=False)
    batch_size: int = key("responses that transformers computes at once", 8, decides=False, at_least=1)
    max_tokens: int = key("tokens of prompt and response; records with longer prompts are left out", 4096, at_least=1)

    def __post_init__(self) -> None:
        check_plain(self.precision)


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How the policy's own answers are drawn."""

    samples: int = key("answers to each prompt; 0 draws none", 0, at_least=0)
    temperature: float = key("0 takes the most likely token", 1.0, at_least=0)
    top_p: float = key("least probability of the tokens that are drawn from", 1.0, above=0, at_most=1)
    max_new_tokens: int = key("longest answer", 256, at_least=1)
    seed: int = key("seed of the draw", 0)

    def __post_init__(self) -> None:
        if self.temperature == 0 and self.samples > 1:
            raise UserError("temperature: 0 gives the same answer every time; set samples=1")


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """Pairs of the gold answer and the wrong answer that the policy finds likeliest."""

    name: str = key("pairs are written to OUTPUT_DIR/NAME.jsonl")
    source: SourceConfig = key("the records")
    gold_key: str = key("the key of a record that holds its right answer", "answer")
    scorer: Scorer = key("how an answer is compared with the gold answer, from 0 to 1", Scorer.exact)
    wrong_below: float = key("answers that score less are wrong", 0.5, above=0, at_most=1)
    candidates: list[str] = key(
        'files of answers: {"id", "candidates": ["text" or {"text", "log_prob"}, ...]}; those of an id are joined',
        [],
        reads=True,
    )
    candidates_key: str | None = key(
        "a key of the record itself that holds such a list, which is joined to those of `candidates`", None
    )
    policy: PolicyConfig | None = key(
        "the model that gives likelihoods, and answers where `sampling` asks for them", None
    )
    sampling: SamplingConfig = key("answers drawn from the policy", SamplingConfig)
    likelihood: Likelihood = key("what the likeliest wrong answer is found by", Likelihood.sum)

    def __post_init__(self) -> None:
        _check_name(self.name)
        if not self.candidates and self.candidates_key is None and not self.sampling.samples:
            raise UserError("candidates: no answers to choose from; give files, candidates_key or sampling.samples")
        if self.sampling.samples and self.policy is None:
            raise UserError("policy: answers are to be drawn from it (sampling.samples); give policy.path")


@dataclass(frozen=True, kw_only=True)
class OptionsConfig:
    """The answers that a question offers."""

    keys: list[str] = key("keys of a record that hold options; several are the levels of a path", [])
    values: list[str] = key("options that are the same for every record", [])
    separator: str | None = key("what stands between the parts of an answer with several, for example ', '", None)

    def __post_init__(self) -> None:
        if bool(self.keys) == bool(self.values):
            raise UserError("keys: give either keys of the record or values")
        if len(self.keys) > 1 and self.separator is None:
            raise UserError("separator: several keys are the levels of a path; say what stands between its parts")
        if self.separator is not None and not self.separator.strip():
            raise UserError("separator: white space alone separates nothing")


@dataclass(frozen=True, kw_only=True)
class StructuralConfig:
    """Pairs of a question's right answer and its wrong options."""

    name: str = key("pairs are written to OUTPUT_DIR/NAME.jsonl")
    source: SourceConfig = key("the records")
    gold_key: str = key("the key of a record that holds its right answer", "answer")
    options: OptionsConfig = key("the answers that it offers")
    pairs_per_record: int = key("different wrong answers of a record, fewer where it has not so many", 1, at_least=1)
    seed: int = key("seed of the choice among wrong options", 0)

    def __post_init__(self) -> None:
        _check_name(self.name)


@dataclass(frozen=True, kw_only=True)
class BuildPreferencesConfig:
    """Preference pairs from people, from a judge, from the policy's mistakes and from the data's structure."""

    output_dir: str = key("pairs go to OUTPUT_DIR/NAME.jsonl, what is known of them to NAME.summary.json", writes=True)
    annotated: list[AnnotatedConfig] = key("pairs from people's labels", [])
    judged: list[JudgedConfig] = key("pairs from a judge that first has to agree with people", [])
    objective: list[ObjectiveConfig] = key("the gold answer against the policy's likeliest wrong one", [])
    structural: list[StructuralConfig] = key("the right option against wrong ones", [])
    max_invalid: float = record_limits.max_invalid(whose="a source's")
    examples: int = key("pairs of each that are shown", 3, decides=False, at_least=0)
    overwrite: bool = key("replace pairs that were made with other settings or inputs", False, decides=False)

    def __post_init__(self) -> None:
        names = [entry.name for entry in self.entries()]
        if not names:
            raise UserError("annotated, judged, objective, structural: all are empty; give at least one entry")
        for name in names:
            if names.count(name) > 1:
                raise UserError(f"name: '{name}' is given twice; every entry writes files of its own")
        people = [entry.name for entry in self.annotated]
        for index, entry in enumerate(self.judged):
            if entry.human not in people:
                raise UserError(f"judged[{index}].human: no entry of `annotated` is named '{entry.human}'")

    def entries(self) -> "list[AnnotatedConfig | JudgedConfig | ObjectiveConfig | StructuralConfig]":
        """All of them, in the order in which they are built."""
        return [*self.annotated, *self.judged, *self.objective, *self.structural]


def _check_name(name: str) -> None:
    if not _FILE_NAME.fullmatch(name):
        raise UserError(f"name: '{name}' cannot name a file; use letters, digits, '.', '_' and '-'")
