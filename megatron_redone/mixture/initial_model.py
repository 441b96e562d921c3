"""What the small runs of a search begin with, told from any other model by what its files hold."""

from dataclasses import dataclass
from pathlib import Path

from megatron_redone.config.optimize_mixture import ProxyConfig
from megatron_redone.config.tokenizer import TokenizerConfig
from megatron_redone.errors import UserError
from megatron_redone.formats.file_record import file_sha256
from megatron_redone.formats.weights_fingerprint import weights_fingerprint
from megatron_redone.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class InitialModel:
    """What was found once for all small runs: a run that is still training saves newer checkpoints meanwhile.

    Attributes:
        folder: Of the first weights; None where they are drawn.
        facts: The SHA-256 of config.json, and the fingerprints of first weights and tokenizer; None of what there is
            not.
    """

    folder: Path | None
    facts: dict[str, str | None]


def find_initial_model(proxy: ProxyConfig) -> InitialModel:
    """Finds the checkpoint or the directory that `init_from` stands for now.

    Raises:
        UserError: one of them is missing or cannot be read.
    """
    # They import torch and megatron-core, which the small runs need, and the checks of a search before them do not.
    from megatron_redone.training.initial_weights import find_config_json, find_initial_weights
    from megatron_redone.training.model_vocabulary import find_tokenizer

    initial = None if proxy.init_from is None else find_initial_weights(proxy.init_from)
    config_json = find_config_json(proxy.model, initial)
    if not config_json.is_file():
        raise UserError(f"proxy.model.hf_config: {config_json}: no such file")
    tokenizer = find_tokenizer(proxy.tokenizer, config_json)
    facts = {
        "config": file_sha256(config_json),
        "weights": None if initial is None else weights_fingerprint(initial.folder),
        "tokenizer": None if tokenizer is None else _fingerprint(tokenizer),
    }
    return InitialModel(folder=None if initial is None else initial.folder, facts=facts)


def _fingerprint(tokenizer: Path) -> str:
    return Tokenizer(TokenizerConfig(path=str(tokenizer)), fast=False).fingerprint()
