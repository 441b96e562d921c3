"""Configuration: frozen dataclasses filled from defaults, then a YAML file, then `a.b=c` overrides."""

from megatron_redone.config.field import key
from megatron_redone.config.loader import load_config, to_yaml
from megatron_redone.config.schema import config_hash, describe_keys

__all__ = ["config_hash", "describe_keys", "key", "load_config", "to_yaml"]
