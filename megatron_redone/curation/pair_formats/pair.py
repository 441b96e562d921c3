"""A prompt with two responses, and the checks that every format shares."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from megatron_redone.curation.conversations.conversation import Conversation
from megatron_redone.formats.input_records import InvalidRecordError, Messages

# NeMo-Aligner's names, those of H4's binarized UltraFeedback, and Argilla's two.
_REWARD_KEYS = (
    ("chosen_reward", "rejected_reward"),
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("chosen-rating", "rejected-rating"),
)


@dataclass(frozen=True)
class PreferencePair:
    """A pair.

    Attributes:
        prompt: What both responses answer.
        chosen: The better response: one message of the assistant, or several with those of tools between.
        rejected: The other.
        tools: JSON schemas of the functions that the assistant may call, or None.
        rewards: Of chosen and rejected, or None.
        unused: Responses of the record that are neither.
        variables: What the template can read besides, of this pair alone.
    """

    prompt: Messages
    chosen: Messages
    rejected: Messages
    tools: list[Any] | None = None
    rewards: tuple[float, float] | None = None
    unused: int = 0
    variables: dict[str, Any] = field(default_factory=dict)

    def conversations(self) -> tuple[Conversation, Conversation]:
        """Prompt and chosen response, and prompt and rejected response."""
        chosen, rejected = ([*self.prompt, *response] for response in (self.chosen, self.rejected))
        return Conversation(chosen, self.tools, self.variables), Conversation(rejected, self.tools, self.variables)


def checked(pair: PreferencePair) -> PreferencePair:
    """The pair, if there is something to be learned from it.

    Raises:
        InvalidRecordError: there is no prompt, the prompts differ, or there is no response.
    """
    if not any(message["role"] == "user" for message in pair.prompt):
        raise InvalidRecordError("the prompts of the two differ" if _asks(pair.chosen) else "no prompt")
    for response in (pair.chosen, pair.rejected):
        if not response or response[-1]["role"] != "assistant":
            raise InvalidRecordError("a response that does not end with a turn of the assistant")
    if _asks(pair.chosen) or _asks(pair.rejected) or pair.chosen[0]["role"] != pair.rejected[0]["role"]:
        raise InvalidRecordError("the prompts of the two differ")
    return pair


def split_common_prompt(chosen: Messages, rejected: Messages) -> tuple[Messages, Messages, Messages]:
    """The messages with which both begin, and the rest of each (TRL's `extract_prompt`)."""
    common = 0
    for one, other in zip(chosen, rejected, strict=False):
        if one != other:
            break
        common += 1
    if common == len(chosen) == len(rejected):
        raise InvalidRecordError("chosen and rejected are the same")
    return chosen[:common], chosen[common:], rejected[common:]


def read_rewards(record: Mapping[str, Any]) -> tuple[float, float] | None:
    """The rewards of a record, or None where it has none.

    Raises:
        InvalidRecordError: they are no numbers, equal, or speak against the pair.
    """
    for keys in _REWARD_KEYS:
        values = [record.get(name) for name in keys]
        if values == [None, None]:
            continue
        if not all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values):
            raise InvalidRecordError("a reward is missing or not a finite number")
        chosen, rejected = (float(value) for value in values)  # type: ignore[arg-type]
        if chosen == rejected:
            raise InvalidRecordError("a tie: both rewards are equal")
        if chosen < rejected:
            raise InvalidRecordError("the rejected response has the higher reward")
        return chosen, rejected
    return None


def _asks(response: Messages) -> bool:
    return any(message["role"] not in ("assistant", "tool") for message in response)
