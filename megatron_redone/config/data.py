"""What a pretraining run reads: a weighted blend of indexed datasets, and what it is validated on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from megatron_redone.config.field import key
from megatron_redone.errors import UserError


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """One indexed dataset."""

    path: str = key("the dataset's path without .bin or .idx", reads=True)
    name: str | None = key("how reports call it; null takes the last part of the path", None)

    @property
    def label(self) -> str:
        """The name in reports."""
        return self.name or PurePath(self.path).name


@dataclass(frozen=True, kw_only=True)
class BlendSource(DataSource):
    """One indexed dataset of a blend."""

    weight: float | None = key(
        "its part of the samples, relative to the others'; null on all goes by their sizes", None, above=0
    )


@dataclass(frozen=True, kw_only=True)
class TrainingDataConfig:
    """What every run that trains is told of its data."""

    blend: list[BlendSource] = key("the datasets to train on; a weight counts samples: slices of text, rows or pairs")
    seq_length: int = key("tokens of one sample", at_least=1)
    shuffle: bool = key("shuffle the samples of each epoch", True)
    seed: int = key("seed of the shuffle", 1234)
    prefetch: int = key("global batches read ahead of the training step", 2, decides=False, at_least=1)
    validation: list[DataSource] = key("the datasets to validate on, each reported by itself", [])

    def __post_init__(self) -> None:
        check_sources(self.blend, self.validation)


@dataclass(frozen=True, kw_only=True)
class DataConfig(TrainingDataConfig):
    """The training blend and the validation sources."""

    blend: list[BlendSource] = key(
        "the datasets to train on, where blend_file does not name them; a weight counts samples: slices of text", []
    )
    blend_file: str | None = key(
        "a YAML file that holds the blend, such as blend.yaml of `redone optimize-mixture`", None, reads=True
    )
    isolate_documents: bool = key("attention, positions and loss stop at the borders of documents", False)
    validation_samples: int = key("samples read of each validation dataset, always its first ones", 128, at_least=1)

    def __post_init__(self) -> None:
        if self.blend_file is None:
            super().__post_init__()
        elif self.blend:
            raise UserError("blend_file: blend is given too; leave one of them out")


def check_sources(blend: Sequence[BlendSource], validation: Sequence[DataSource]) -> None:
    """Refuses a blend that is empty or half weighted, and sources that reports could not tell apart."""
    if not blend:
        raise UserError("blend: the list is empty; name at least one dataset")
    _check_labels("blend", blend)
    _check_labels("validation", validation)
    weightless = [source.label for source in blend if source.weight is None]
    if 0 < len(weightless) < len(blend):
        raise UserError(
            f"blend: no weight is given for {', '.join(weightless)}; give one to every source, or to none "
            "to go by their sizes"
        )


def _check_labels(where: str, sources: Sequence[DataSource]) -> None:
    labels = [source.label for source in sources]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise UserError(f"{where}: two sources are called '{twice}'; give them different names with name=")
