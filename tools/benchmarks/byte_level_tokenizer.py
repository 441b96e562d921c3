"""A byte-level BPE tokenizer of a small vocabulary, so that a small model's output layer does not outweigh all else."""

import json
from collections.abc import Iterable
from pathlib import Path


def train_tokenizer(folder: Path, texts: Iterable[str], vocabulary: int) -> None:
    """Writes a Hugging Face tokenizer of so many tokens to `folder`, unless it is there; `<|endoftext|>` is the last.

    The same texts give the same tokenizer.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    if (folder / "tokenizer.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - 1, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", normalized=False)])
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))
    tokenizer.save(str(folder / "tokenizer.json"))
