"""config.json to the one description of a model that all packages read. A family is a row of `families.FAMILIES`."""

from megatron_redone.architectures.architecture import Architecture, RotaryConfig
from megatron_redone.architectures.hf_config import parse_architecture, read_architecture

__all__ = ["Architecture", "RotaryConfig", "parse_architecture", "read_architecture"]
