"""Sentence embeddings of a folder, as BGE takes them: the last state of the first token, normalised.

The benchmark's is bge-large-en-v1.5; whatever folder is named is what is used, and a score says which.
"""

from functools import cache
from pathlib import Path
from typing import Any

import torch

from megatron_redone.errors import UserError

OFFICIAL = "bge-large-en-v1.5"
_LONGEST = 512


def cosine(folder: str, one: str, other: str) -> float:
    """How alike two texts are, between -1 and 1."""
    return float(_embed(folder, one) @ _embed(folder, other))


@cache
def _load(folder: str) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"embedding: {folder} cannot be loaded ({reason})") from None
    return tokenizer, model


@cache
def _embed(folder: str, text: str) -> torch.Tensor:
    tokenizer, model = _load(str(Path(folder)))
    with torch.inference_mode():
        state = model(**tokenizer(text, truncation=True, max_length=_LONGEST, return_tensors="pt")).last_hidden_state
    return torch.nn.functional.normalize(state[0, 0], dim=0)
