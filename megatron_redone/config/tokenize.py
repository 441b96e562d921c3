"""Keys of `redone tokenize`."""

from dataclasses import dataclass

from megatron_redone.config import record_limits
from megatron_redone.config.field import key
from megatron_redone.config.named_input import INPUT_FILES
from megatron_redone.config.tokenizer import TokenizerConfig
from megatron_redone.errors import UserError


@dataclass(frozen=True, kw_only=True)
class TokenizeConfig:
    """Raw JSONL or Parquet to one Megatron indexed dataset."""

    input: list[str] = key(INPUT_FILES, reads=True)
    output_prefix: str = key("the dataset is written to PREFIX.bin, PREFIX.idx and PREFIX.manifest.json", writes=True)
    tokenizer: TokenizerConfig = key("the tokenizer")
    text_key: str = key("the key of a record that holds its text", "text")
    append_eod: bool = key("end every document with the tokenizer's end-of-document token", True)
    shuffle: bool = key("shuffle the documents of the whole corpus (training reads them in file order)", False)
    seed: int = key("seed of the shuffle", 0)
    workers: int = key("processes; 0 takes one for each core", 0, decides=False, at_least=0)
    shard_mb: int = key("input megabytes of one unit of work and of resuming", 16, at_least=1)
    max_record_mb: int = record_limits.max_record_mb()
    max_invalid: float = record_limits.max_invalid()
    overwrite: bool = key(
        "replace a finished dataset that was made with other settings or inputs", False, decides=False
    )

    def __post_init__(self) -> None:
        if not self.input:
            raise UserError("input: the list is empty; name at least one file")
