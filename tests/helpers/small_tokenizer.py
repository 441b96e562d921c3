"""A byte-level BPE of some hundred tokens with Qwen's special tokens, trained where the test runs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers

from megatron_redone.config.tokenizer import TokenizerConfig
from megatron_redone.tokenization.tokenizer import Tokenizer

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEXT = [
    "The ferry leaves at nine, the last one back at half past six; bring a jacket, it's windy on deck.",
    "周末去了湖边的小店，点了两碗面，汤头很鲜，老板还送了一碟小菜。下次还来！",
    "What a day: 3 trains late, 12 km on foot, and the best dumplings of my life. #travel",
    "def area(width, height):\n    return width * height\n",
]


def train(folder: Path, bos: str | None = None) -> Path:
    """Writes tokenizer.json into a folder and returns the folder.

    Args:
        folder: It is made.
        bos: A special token that the template puts before a text.
    """
    from tokenizers.processors import TemplateProcessing

    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(TEXT * 2, trainer)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL])
    if bos is not None:
        tokenizer.post_processor = TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def load(path: Path, **settings: object) -> Tokenizer:
    """The project's tokenizer of a path."""
    return Tokenizer(TokenizerConfig(path=str(path), **settings))  # type: ignore[arg-type]


def batch_ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """The ids that it gives for each of some texts."""
    encoded = tokenizer.encode_batch(texts)
    return [row.tolist() for row in np.split(encoded.ids, np.cumsum(encoded.lengths)[:-1])]


def literal(file: Path) -> tokenizers.Tokenizer:
    """The library's own, which reads special tokens in a text as plain text, as the project does."""
    reference = tokenizers.Tokenizer.from_file(str(file))
    reference.encode_special_tokens = True
    return reference
