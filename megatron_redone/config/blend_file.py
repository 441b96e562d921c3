"""A blend in a file of its own: what `redone optimize-mixture` writes and `redone pretrain` takes."""

from collections.abc import Sequence
from dataclasses import dataclass

from megatron_redone.config.data import BlendSource, check_sources
from megatron_redone.config.field import key
from megatron_redone.config.loader import load_config, to_yaml


@dataclass(frozen=True, kw_only=True)
class BlendFile:
    """The whole file."""

    blend: list[BlendSource] = key("the datasets to train on, with their weights")

    def __post_init__(self) -> None:
        check_sources(self.blend, [])


def read_blend(file: str) -> list[BlendSource]:
    """The blend of a file.

    Raises:
        UserError: it is missing, or holds something else.
    """
    return load_config(BlendFile, file).blend


def blend_yaml(blend: Sequence[BlendSource]) -> str:
    """The text of a file that `read_blend` reads."""
    return to_yaml(BlendFile(blend=list(blend)))
