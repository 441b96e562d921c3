"""Small random chat models as Hugging Face directories, and what transformers itself makes of them."""

import json
from pathlib import Path
from typing import Any

import torch

from tests.helpers import hf_models, small_tokenizer

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write(folder: Path, model: str = "llama3_scaled", seed: int = 0, bos: str | None = None, **changes: Any) -> Path:
    """A directory that generates, with the ChatML template and <|im_end|> as its end.

    No Qwen2: transformers reads any tokenizer of that model type by the real Qwen2's rules, not by its tokenizer.json.
    """
    theirs = hf_models.hf_model(model, seed, **changes)
    theirs.save_pretrained(folder)
    small_tokenizer.train(folder, bos)
    settings = {"tokenizer_class": "TokenizersBackend", "eos_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").write_text(CHATML)
    return folder


def token_losses(model: Any, ids: list[int]) -> torch.Tensor:
    """The loss of every token but the first, float64 [T - 1], from logits of this one sequence."""
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0, :-1].double()
    return torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none")
