"""What the sources and the runs of prepare-sft and prepare-preferences have in common."""

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from megatron_redone.config import record_limits
from megatron_redone.config.field import key
from megatron_redone.config.tokenizer import TokenizerConfig
from megatron_redone.errors import UserError

# The six capabilities of RedOne's fine-tuning (arXiv 2507.10605), and what is none of them.
CAPABILITIES = (
    "content_understanding",
    "information_extraction",
    "semantic_matching",
    "user_behaviour",
    "dialogue_persona",
    "translation",
    "general",
)

_FILE_NAME = re.compile(r"[\w][\w-]*(\.[\w-]+)*")
# Endings by which the files of one source would be taken for those of another.
_TAKEN_ENDINGS = (".bin", ".idx", ".validation", ".loss_mask", ".loss_weights", ".manifest", ".invalid", ".rewards")


class OnLostAnswer(enum.Enum):
    """What becomes of a record when the chat template leaves out a part of an answer."""

    keep = "keep"
    invalid = "invalid"


@dataclass(frozen=True, kw_only=True)
class ChatSource:
    """Records of one origin; they become one dataset."""

    input: list[str] = key(
        "files, directories, globs or URLs of .json (an array or lines), .jsonl or .parquet", reads=True
    )
    name: str = key("the dataset is OUTPUT_DIR/NAME.*")
    capability: str = key(f"what it trains: {', '.join(CAPABILITIES)}, or your own word", "general")
    validation_fraction: float = key(
        "fraction of the conversations or prompts held out, as OUTPUT_DIR/NAME.validation.*",
        0.0,
        at_least=0,
        below=1,
        formerly="validation_share",
    )
    validation_count: int = key("number of them held out, instead of a fraction", 0, at_least=0)
    ignored_marks: list[str] = key(
        "keys of records or messages that look like marks of what is learned (train_id) and are none", list
    )

    def __post_init__(self) -> None:
        if not self.input:
            raise UserError("input: the list is empty; name at least one file")
        if not _FILE_NAME.fullmatch(self.name) or self.name.endswith(_TAKEN_ENDINGS):
            raise UserError(f"name: {self.name!r} cannot name files; use letters, digits, '_', '-' and '.'")
        if self.validation_fraction and self.validation_count:
            raise UserError("validation_fraction, validation_count: both are given; one says what is held out")


@dataclass(frozen=True, kw_only=True)
class PrepareChatsConfig:
    """Sources of records that a chat template renders."""

    sources: Sequence[ChatSource] = key("the sources")
    output_dir: str = key("the folder of the datasets and their manifest.json", writes=True)
    tokenizer: TokenizerConfig = key("the tokenizer: a Hugging Face directory or a tokenizer.json")
    chat_template: str | None = key(
        "a file with a Jinja chat template; null takes the tokenizer's own", None, reads=True
    )
    template_variables: dict[str, Any] = key("what the template can read besides (enable_thinking, date_string)", dict)
    on_lost_answer: OnLostAnswer = key(
        "a record of whose answer the template leaves out reasoning, text or a call: invalid, or keep the rest",
        OnLostAnswer.invalid,
    )
    refuse_special_tokens: bool = key("refuse records in whose own text special tokens are written", False)
    max_record_mb: int = record_limits.max_record_mb()
    max_invalid: float = record_limits.max_invalid(whose="a source's")
    workers: int = key("processes; 0 takes one for each core where there is work enough", 0, decides=False, at_least=0)
    overwrite: bool = key(
        "replace finished datasets that were made with other settings or inputs", False, decides=False
    )

    def __post_init__(self) -> None:
        if not self.sources:
            raise UserError("sources: the list is empty; name at least one source")
        names = [source.name for source in self.sources]
        double = next((name for name in names if names.count(name) > 1), None)
        if double is not None or "manifest" in names:
            raise UserError(f"sources: the name {double or 'manifest'!r} is taken; every source needs one of its own")
        if self.tokenizer != TokenizerConfig(path=self.tokenizer.path):
            raise UserError("tokenizer: chat data takes only its path; the chat template decides about special tokens")
