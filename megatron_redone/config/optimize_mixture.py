"""Keys of `redone optimize-mixture`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from megatron_redone.config.data import DataSource
from megatron_redone.config.field import key
from megatron_redone.config.model import ModelConfig
from megatron_redone.config.optimizer import OptimizerConfig
from megatron_redone.config.parallel import Device
from megatron_redone.errors import UserError


@dataclass(frozen=True, kw_only=True)
class MixtureSource(DataSource):
    """One indexed dataset that the run to come may train on."""

    prior: float | None = key(
        "its weight in the mixture that one would take, relative to the others'; null on all goes by their tokens",
        None,
        above=0,
    )


@dataclass(frozen=True, kw_only=True)
class TargetSet(DataSource):
    """One indexed dataset whose loss is to be low; none of the sources may hold it."""

    weight: float = key("its part of the loss that counts, relative to the others'", 1.0, above=0)


@dataclass(frozen=True, kw_only=True)
class ProxyConfig:
    """The small runs: all alike but for their mixture."""

    init_from: str | None = key(
        "weights to begin with, for continued pretraining: the smallest member of the family; null draws random ones",
        None,
        reads=True,
        or_hub=True,
    )
    tokenizer: str | None = key("folder of the model's tokenizer; null takes that of init_from", None, reads=True)
    model: ModelConfig = key("architecture and computation", ModelConfig)
    seq_length: int = key("tokens of one sample", at_least=1)
    train_tokens: int = key("tokens of one run, rounded up to whole steps", at_least=1)
    global_batch_size: int = key("samples of one step", at_least=1)
    micro_batch_size: int = key("samples that go through the model at once", 1, decides=False, at_least=1)
    target_samples: int = key("samples read of each target set, always its first ones", 128, at_least=1)
    isolate_documents: bool = key("attention, positions and loss stop at the borders of documents", False)
    optimizer: OptimizerConfig = key("AdamW and learning rate", OptimizerConfig)

    def __post_init__(self) -> None:
        if self.model.hf_config is None and self.init_from is None:
            raise UserError("model.hf_config: name the config.json of a small model, or init_from")


@dataclass(frozen=True, kw_only=True)
class OptimizeMixtureConfig:
    """Many small runs over mixtures, regressions of their losses, and the blend that follows."""

    output_dir: str = key("blend.yaml, mixture.json, mixture.md and manifest.json are written there", writes=True)
    sources: list[MixtureSource] = key("what the run to come may train on")
    target: list[TargetSet] = key("the datasets whose weighted loss is to be low")
    proxy: ProxyConfig = key("the small runs")
    proxies: int = key("small runs of the search, those that are kept out among them", 64, at_least=1)
    kept_out: int = key("of these, runs that no regression sees, to choose the regression by", 16, at_least=4)
    seeds: int = key("runs of every baseline and of the winner, each with a seed of its own", 3, at_least=2)
    seed: int = key("seed of the design, and of the runs of the search", 1234)
    train_tokens: int | None = key(
        "tokens of the run to come; with max_epochs it caps the weights of small sources; null caps none",
        None,
        at_least=1,
    )
    max_epochs: float = key("times that the run to come may read a source", 4.0, above=0)
    kl_weight: float = key(
        "loss, in nats a token, that a mixture must gain for each nat of divergence from the prior", 0.02, at_least=0
    )
    max_overlap: float = key(
        "fraction of a target set's tokens that may stand in a source", 0.05, at_least=0, at_most=1
    )
    reuse: str | None = key(
        "output_dir of a search over other sources: the ratios of those that are still here are kept", None, reads=True
    )
    device: Device = key("where to compute", Device.auto, decides=False)
    processes: int = key(
        "small runs at the same time; 0 takes one for each GPU, or each core", 0, decides=False, at_least=0
    )
    job: int | None = key(
        "train only part I of `jobs` and stop: one task of a scheduler's array; the command without it does the rest",
        None,
        decides=False,
        at_least=0,
    )
    jobs: int = key("parts that job counts, from 0", 1, decides=False, at_least=1)
    overwrite: bool = key("replace a finished output that was made with other settings or inputs", False, decides=False)

    def __post_init__(self) -> None:
        _check_names("sources", self.sources)
        _check_names("target", self.target)
        if len(self.sources) < 2:
            raise UserError("sources: a mixture takes two at least")
        without = [source.label for source in self.sources if source.prior is None]
        if 0 < len(without) < len(self.sources):
            raise UserError(f"sources: no prior is given for {', '.join(without)}; give one to all, or to none")
        if self.job is not None and self.job >= self.jobs:
            raise UserError(
                f"job: {self.job} is none of {self.jobs} jobs, which count from 0; set jobs to their number"
            )


def _check_names(where: str, sets: Sequence[DataSource]) -> None:
    labels = [one.label for one in sets]
    if not labels:
        raise UserError(f"{where}: the list is empty; name at least one dataset")
    if twice := [label for label in labels if labels.count(label) > 1]:
        raise UserError(f"{where}: two are called '{twice[0]}'; give them different names with name=")
    if odd := [label for label in labels if not re.fullmatch(r"[\w.-]+", label)]:
        raise UserError(f"{where}: '{odd[0]}' cannot be a name; use letters, digits, ., - and _, with name=")
