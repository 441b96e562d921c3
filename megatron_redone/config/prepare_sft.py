"""Keys of `redone prepare-sft`."""

import enum
from dataclasses import dataclass
from typing import Any

from megatron_redone.config.chat_source import CAPABILITIES, check_run, check_source, check_sources
from megatron_redone.config.field import key
from megatron_redone.config.tokenizer import TokenizerConfig
from megatron_redone.errors import UserError


class ConversationFormat(enum.Enum):
    """How records hold conversations."""

    auto = "auto"
    messages = "messages"
    sharegpt = "sharegpt"
    alpaca = "alpaca"
    prompt_completion = "prompt_completion"
    nemo = "nemo"
    self_instruct = "self_instruct"


class LossOn(enum.Enum):
    """Which tokens are learned."""

    assistant = "assistant"
    last_turn = "last_turn"
    all = "all"


@dataclass(frozen=True, kw_only=True)
class ConversationSource:
    """Records of one origin; they become one dataset."""

    input: list[str] = key(
        "files, directories, globs or URLs of .json (an array or lines), .jsonl or .parquet", reads=True
    )
    name: str = key("the dataset is OUTPUT_DIR/NAME.*")
    capability: str = key(f"what it trains: {', '.join(CAPABILITIES)}, or your own word", "general")
    format: ConversationFormat = key(
        "of the records; auto tells it by the first ones of each file", ConversationFormat.auto
    )
    prompt_key: str = key("prompt_completion: the key of the prompt (GSM8K: question)", "prompt")
    completion_key: str = key("prompt_completion: the key of the completion (GSM8K: answer)", "completion")
    system: str | None = key("a system prompt for conversations that have none", None)
    validation_share: float = key("share of the conversations held out, as OUTPUT_DIR/NAME.validation.*", 0.0)
    validation_count: int = key("number of the conversations held out, instead of a share", 0)

    def __post_init__(self) -> None:
        check_source(self)
        has_keys = (self.prompt_key, self.completion_key) != ("prompt", "completion")
        if has_keys and self.format not in (ConversationFormat.auto, ConversationFormat.prompt_completion):
            raise UserError(f"prompt_key, completion_key: format {self.format.name} has no such keys; remove them")


@dataclass(frozen=True, kw_only=True)
class PrepareSFTConfig:
    """Conversations to token ids with loss masks, one dataset a source."""

    sources: list[ConversationSource] = key("the sources")
    output_dir: str = key("the folder of the datasets and their manifest.json", writes=True)
    tokenizer: TokenizerConfig = key("the tokenizer: a Hugging Face directory or a tokenizer.json")
    chat_template: str | None = key(
        "a file with a Jinja chat template; null takes the tokenizer's own", None, reads=True
    )
    template_variables: dict[str, Any] = key("what the template can read besides (enable_thinking, date_string)", dict)
    loss_on: LossOn = key("tokens learned: the assistant's, those after the last question, or all", LossOn.assistant)
    refuse_special_tokens: bool = key("refuse records in whose own text special tokens are written", False)
    max_rejected: float = key("stop when more than this share of a source's records is refused", 0.01, decides=False)
    workers: int = key("processes; 0 takes one for each core where there is work enough", 0, decides=False)
    overwrite: bool = key(
        "replace finished datasets that were made with other settings or inputs", False, decides=False
    )

    def __post_init__(self) -> None:
        check_sources(self.sources)
        check_run(self.workers, self.max_rejected, self.tokenizer)
