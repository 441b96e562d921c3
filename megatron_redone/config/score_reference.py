"""Keys of `redone score-reference`."""

from dataclasses import dataclass

from megatron_redone.config.data import DataSource
from megatron_redone.config.field import key
from megatron_redone.config.model import ModelConfig
from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ScoredSource(DataSource):
    """A dataset of pairs, whose scores lie beside it where there is no folder for them."""

    path: str = key("the dataset's path without .bin or .idx", reads=True, writes_beside=".reference")


@dataclass(frozen=True, kw_only=True)
class ScoreReferenceConfig:
    """Log-probabilities of all responses under a reference model, once, for any number of DPO runs."""

    init_from: str = key(
        "the reference: a Hugging Face directory or hub name, or a run's checkpoint", reads=True, or_hub=True
    )
    data: list[ScoredSource] = key("datasets of prepare-preferences; also those to validate on")
    output_dir: str | None = key("folder of the scores; null puts each beside its dataset", None, writes=True)
    tokenizer: str | None = key("folder of the model's tokenizer; null takes that of init_from", None, reads=True)
    device: Device = key("where to compute", Device.auto, decides=False)
    model: ModelConfig = key("computation", ModelConfig)
    parallel: ParallelConfig = key("layout over processes", ParallelConfig, decides=False)
    seq_length: int | None = key("tokens that a row may hold; null takes the longest pair", None, at_least=1)
    share_prompt: bool = key("compute the prompt of a pair once for both responses (torch backend)", False)
    batch_size: int = key("pairs scored at once, over all processes", 64, decides=False, at_least=1)
    micro_batch_size: int = key("rows that go through a model at once", 1, decides=False, at_least=1)
    save_every: int = key("pairs after which what is done is saved", 4096, decides=False, at_least=1)

    def __post_init__(self) -> None:
        if not self.data:
            raise UserError("data: the list is empty; name at least one dataset")
