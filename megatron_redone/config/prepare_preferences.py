"""Keys of `redone prepare-preferences`."""

import enum
from dataclasses import dataclass

from megatron_redone.config import record_limits
from megatron_redone.config.chat_source import ChatSource, PrepareChatsConfig
from megatron_redone.config.field import key


class PreferenceFormat(enum.Enum):
    """How records hold a prompt and two responses."""

    auto = "auto"
    trl = "trl"
    nemo = "nemo"
    nemo_rl = "nemo_rl"
    sharegpt = "sharegpt"
    alpaca = "alpaca"
    hh_rlhf = "hh_rlhf"
    openai = "openai"
    ms_swift = "ms_swift"
    orca = "orca"
    helpsteer3 = "helpsteer3"
    ultrafeedback = "ultrafeedback"


@dataclass(frozen=True, kw_only=True)
class PreferenceSource(ChatSource):
    """Pairs of one origin; they become one dataset."""

    format: PreferenceFormat = key("of the records; auto goes by the first of each file", PreferenceFormat.auto)
    system: str | None = key("a system prompt for pairs that have none", None)


@dataclass(frozen=True, kw_only=True)
class PreparePreferencesConfig(PrepareChatsConfig):
    """Preference pairs to token ids with masks on the responses, one dataset a source."""

    sources: list[PreferenceSource] = key("the sources")
    max_invalid: float = record_limits.max_invalid(whose="a source's", default=0.05)
