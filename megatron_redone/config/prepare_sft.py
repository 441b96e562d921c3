"""Keys of `redone prepare-sft`."""

import enum
from dataclasses import dataclass

from megatron_redone.config.chat_source import ChatSource, PrepareChatsConfig
from megatron_redone.config.field import key
from megatron_redone.errors import UserError


class ConversationFormat(enum.Enum):
    """How records hold conversations."""

    auto = "auto"
    messages = "messages"
    sharegpt = "sharegpt"
    alpaca = "alpaca"
    prompt_completion = "prompt_completion"
    nemo = "nemo"
    self_instruct = "self_instruct"


class LossOn(enum.Enum):
    """Which tokens are trained on."""

    assistant = "assistant"
    last_turn = "last_turn"
    all = "all"


class History(enum.Enum):
    """What stands before an answer that is trained on."""

    rendered = "rendered"
    generated = "generated"


@dataclass(frozen=True, kw_only=True)
class ConversationSource(ChatSource):
    """Conversations of one origin; they become one dataset."""

    format: ConversationFormat = key(
        "of the records; auto tells it by the first ones of each file", ConversationFormat.auto
    )
    prompt_key: str = key("prompt_completion: the key of the prompt (GSM8K: question)", "prompt")
    completion_key: str = key("prompt_completion: the key of the completion (GSM8K: answer)", "completion")
    system: str | None = key("a system prompt for conversations that have none", None)

    def __post_init__(self) -> None:
        super().__post_init__()
        has_keys = (self.prompt_key, self.completion_key) != ("prompt", "completion")
        if has_keys and self.format not in (ConversationFormat.auto, ConversationFormat.prompt_completion):
            raise UserError(f"prompt_key, completion_key: format {self.format.name} has no such keys; remove them")


@dataclass(frozen=True, kw_only=True)
class PrepareSFTConfig(PrepareChatsConfig):
    """Conversations to token ids with loss masks, one dataset a source."""

    sources: list[ConversationSource] = key("the sources")
    loss_on: LossOn = key("tokens trained on: the assistant's, those after the last question, or all",
                          LossOn.assistant)  # fmt: skip
    history: History = key(
        "what stands before an answer: what the template makes of the whole conversation, or what stood there when "
        "it was generated, in a row for each answer where the template rewrites it (Qwen3 drops earlier reasoning)",
        History.rendered,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.history is History.generated and self.loss_on is LossOn.all:
            raise UserError("history, loss_on: generated trains on answers alone; set loss_on=assistant, or rendered")
