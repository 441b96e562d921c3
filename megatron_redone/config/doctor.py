"""Keys of `redone doctor`."""

from dataclasses import dataclass

from megatron_redone.config.field import key


@dataclass(frozen=True, kw_only=True)
class DoctorConfig:
    """One page on this machine."""

    json: bool = key("print one JSON object instead of the page", False)
    self_test: bool = key("train a few steps on one process and on two, and compare the losses", True)
    timeout_seconds: int = key("a self-test that takes longer counts as hanging", 180, decides=False, at_least=1)
