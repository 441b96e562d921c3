"""What a model expects of the tokens it is fed, which its tokenizer's folder tells."""

import logging
from pathlib import Path

from megatron_redone.architectures import Architecture
from megatron_redone.config.tokenizer import TokenizerConfig
from megatron_redone.datasets.vocabulary import Vocabulary
from megatron_redone.errors import UserError
from megatron_redone.tokenization.tokenizer import Tokenizer

log = logging.getLogger(__name__)


def find_tokenizer(name: str | None, config_json: Path) -> Path | None:
    """The folder of a model's tokenizer, or None where it has none.

    Args:
        name: The folder, where the user has named one.
        config_json: Of the model; the tokenizer is looked for beside it.

    Raises:
        UserError: the named folder is not there.
    """
    if name is not None:
        folder = Path(name)
        if not folder.is_dir():
            raise UserError(f"tokenizer: {folder}: no such directory")
        return folder
    has_one = any((config_json.parent / file).is_file() for file in ("tokenizer.json", "tokenizer.model"))
    return config_json.parent if has_one else None


def model_vocabulary(architecture: Architecture, tokenizer: Path | None) -> Vocabulary:
    """The ids that a model knows, and the fingerprint of the tokenizer in a folder."""
    fingerprint = None
    if tokenizer is None:
        log.warning("the model comes without a tokenizer: whether the data was made with the same one is not checked")
    else:
        fingerprint = Tokenizer(TokenizerConfig(path=str(tokenizer)), fast=False).fingerprint()
    return Vocabulary(size=architecture.vocab_size, fingerprint=fingerprint)
