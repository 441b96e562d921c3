"""Which tokenizer, and how it treats special tokens."""

import enum
from dataclasses import dataclass

from megatron_redone.config.field import key


class TiktokenPattern(enum.Enum):
    """The split pattern of a .tiktoken file, which the file itself does not carry."""

    r50k = "r50k"
    cl100k = "cl100k"
    o200k = "o200k"
    qwen2 = "qwen2"
    llama3 = "llama3"


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """The tokenizer of a model."""

    path: str = key(
        "a Hugging Face directory, a tokenizer.json, a SentencePiece .model, or a .tiktoken file", reads=True
    )
    fast: bool = key("encode with gigatoken where its ids prove equal to the reference library's", True, decides=False)
    parse_special_tokens: bool = key(
        "special tokens written in the text become their ids (a post may end itself)", False
    )
    add_special_tokens: bool = key("put around a document what the tokenizer's own template adds (BOS)", True)
    eod_token: str | None = key("the token that ends a document; null finds <|endoftext|> or the like", None)
    tiktoken_pattern: TiktokenPattern | None = key("split pattern of a .tiktoken file; null goes by its name", None)
