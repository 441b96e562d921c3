"""What the sources of conversations and of preferences have in common."""

import re
from collections.abc import Sequence
from typing import Any

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
_TAKEN_ENDINGS = (".bin", ".idx", ".validation", ".loss_mask", ".manifest", ".invalid", ".rewards")


def check_source(source: Any) -> None:
    """Checks the keys of one source that both stages have.

    Raises:
        UserError: a value that cannot be.
    """
    if not source.input:
        raise UserError("input: the list is empty; name at least one file")
    if not _FILE_NAME.fullmatch(source.name) or source.name.endswith(_TAKEN_ENDINGS):
        raise UserError(f"name: {source.name!r} cannot name files; use letters, digits, '_', '-' and '.'")
    if not 0 <= source.validation_share < 1:
        raise UserError(f"validation_share: {source.validation_share} is not a share from 0 to less than 1")
    if source.validation_count < 0:
        raise UserError(f"validation_count: {source.validation_count} is negative")
    if source.validation_share and source.validation_count:
        raise UserError("validation_share, validation_count: both are given; one says what is held out")


def check_sources(sources: Sequence[Any]) -> None:
    """Checks the sources of a stage against each other.

    Raises:
        UserError: there is none, or two have one name.
    """
    if not sources:
        raise UserError("sources: the list is empty; name at least one source")
    names = [source.name for source in sources]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None or "manifest" in names:
        raise UserError(f"sources: the name {double or 'manifest'!r} is taken; every source needs one of its own")


def check_run(workers: int, max_rejected: float, tokenizer: TokenizerConfig) -> None:
    """Checks the keys of a run that both stages have.

    Raises:
        UserError: a value that cannot be, or a key of the tokenizer that is not for chat data.
    """
    if workers < 0:
        raise UserError(f"workers: {workers} is negative; 0 takes one for each core")
    if not 0 <= max_rejected <= 1:
        raise UserError(f"max_rejected: {max_rejected} is not a share between 0 and 1")
    if tokenizer != TokenizerConfig(path=tokenizer.path):
        raise UserError("tokenizer: chat data takes only its path; the chat template decides about special tokens")
