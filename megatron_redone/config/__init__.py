"""Configuration: frozen dataclasses filled from defaults, then a YAML file, then `a.b=c` overrides."""

from megatron_redone.config.field import key
from megatron_redone.config.loader import flat_values, load_config, to_yaml
from megatron_redone.config.schema import config_hash, describe_keys

__all__ = ["config_hash", "describe_keys", "flat_values", "key", "load_config", "to_yaml"]
