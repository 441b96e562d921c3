"""Keys of `redone prepare-preferences`."""

import enum
from dataclasses import dataclass
from typing import Any

from megatron_redone.config.chat_source import CAPABILITIES, check_run, check_source, check_sources
from megatron_redone.config.field import key
from megatron_redone.config.tokenizer import TokenizerConfig


class PreferenceFormat(enum.Enum):
    """How records hold a prompt and two responses."""

    auto = "auto"
    trl = "trl"
    nemo = "nemo"
    sharegpt = "sharegpt"
    alpaca = "alpaca"
    hh_rlhf = "hh_rlhf"


@dataclass(frozen=True, kw_only=True)
class PreferenceSource:
    """Records of one origin; they become one dataset."""

    input: list[str] = key(
        "files, directories, globs or URLs of .json (an array or lines), .jsonl or .parquet", reads=True
    )
    name: str = key("the dataset is OUTPUT_DIR/NAME.*")
    capability: str = key(f"what it trains: {', '.join(CAPABILITIES)}, or your own word", "general")
    format: PreferenceFormat = key("of the records; auto goes by the first of each file", PreferenceFormat.auto)
    system: str | None = key("a system prompt for pairs that have none", None)
    validation_share: float = key("share of the prompts held out, as OUTPUT_DIR/NAME.validation.*", 0.0)
    validation_count: int = key("number of the prompts held out, instead of a share", 0)

    def __post_init__(self) -> None:
        check_source(self)


@dataclass(frozen=True, kw_only=True)
class PreparePreferencesConfig:
    """Preference pairs to token ids with masks on the responses, one dataset a source."""

    sources: list[PreferenceSource] = key("the sources")
    output_dir: str = key("the folder of the datasets and their manifest.json", writes=True)
    tokenizer: TokenizerConfig = key("the tokenizer: a Hugging Face directory or a tokenizer.json")
    chat_template: str | None = key(
        "a file with a Jinja chat template; null takes the tokenizer's own", None, reads=True
    )
    template_variables: dict[str, Any] = key("what the template can read besides (enable_thinking, date_string)", dict)
    refuse_special_tokens: bool = key("refuse records in whose own text special tokens are written", False)
    max_rejected: float = key("stop when more than this share of a source's records is refused", 0.05, decides=False)
    workers: int = key("processes; 0 takes one for each core where there is work enough", 0, decides=False)
    overwrite: bool = key(
        "replace finished datasets that were made with other settings or inputs", False, decides=False
    )

    def __post_init__(self) -> None:
        check_sources(self.sources)
        check_run(self.workers, self.max_rejected, self.tokenizer)
