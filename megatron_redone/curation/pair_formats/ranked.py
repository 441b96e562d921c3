"""Pairs out of records that hold several responses with ranks, scores or a verdict: the best against the worst."""

import math
from collections.abc import Sequence
from typing import Any

from megatron_redone.curation.conversations.conversation import read_tools, required_text
from megatron_redone.curation.conversations.instructions import as_messages
from megatron_redone.curation.pair_formats.pair import PreferencePair
from megatron_redone.formats.input_records import InvalidRecordError, Messages

# UltraFeedback's: the mean of the four aspects, before the one judged by itself, of which some are known to be wrong
# by a factor of ten (Argilla's note on ultrafeedback-binarized-preferences).
_SCORES = ("fine-grained_score", "overall_score")


def from_nemo_rl(record: dict[str, Any]) -> PreferencePair:
    """NeMo-RL's `{"context": [...], "completions": [{"rank": 0, "completion": [...]}, ...]}`, rank 0 the best.

    Raises:
        InvalidRecordError: it is something else, or the best and the worst have the same rank.
    """
    found = _completions(record)
    ranks = [_number(completion, "rank") for completion in found]
    responses = [as_messages(completion.get("completion"), "assistant") for completion in found]
    chosen, rejected = _best_and_worst([-rank for rank in ranks])
    prompt = as_messages(record.get("context"), "user")
    tools = read_tools(record.get("tools"))
    return PreferencePair(prompt, responses[chosen], responses[rejected], tools, unused=len(found) - 2)


def from_helpsteer3(record: dict[str, Any]) -> PreferencePair:
    """HelpSteer3's `{"context", "response1", "response2", "overall_preference"}`; below 0 the first is better.

    Raises:
        InvalidRecordError: it is something else, or neither is better.
    """
    preference = _number(record, "overall_preference")
    first, second = (as_messages(required_text(record, key), "assistant") for key in ("response1", "response2"))
    if preference == 0:
        raise InvalidRecordError("a tie: neither response is preferred")
    chosen, rejected = (first, second) if preference < 0 else (second, first)
    return PreferencePair(as_messages(record.get("context"), "user"), chosen, rejected)


def from_ultrafeedback(record: dict[str, Any]) -> PreferencePair:
    """UltraFeedback's `{"instruction", "completions": [{"response", "fine-grained_score", "overall_score"}, ...]}`.

    Completions without a score are not used.

    Raises:
        InvalidRecordError: it is something else, or fewer than two have a score, or the same.
    """
    prompt: Messages = as_messages(required_text(record, "instruction"), "user")
    every = _completions(record)
    scored = [(score, one) for one in every if (score := _score(one)) is not None]
    if len(scored) < 2:
        raise InvalidRecordError("fewer than two completions have a score")
    best, worst = _best_and_worst([score for score, _ in scored])
    chosen, rejected = (as_messages(required_text(scored[n][1], "response"), "assistant") for n in (best, worst))
    return PreferencePair(prompt, chosen, rejected, None, (scored[best][0], scored[worst][0]), len(every) - 2)


def _completions(record: dict[str, Any]) -> list[dict[str, Any]]:
    found = record.get("completions")
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise InvalidRecordError("'completions' are not a list of objects")
    if len(found) < 2:
        raise InvalidRecordError("fewer than two completions")
    return found


def _best_and_worst(scores: Sequence[float]) -> tuple[int, int]:
    best, worst = max(range(len(scores)), key=scores.__getitem__), min(range(len(scores)), key=scores.__getitem__)
    if scores[best] == scores[worst]:
        raise InvalidRecordError("a tie: the best response is no better than the worst")
    return best, worst


def _score(completion: dict[str, Any]) -> float | None:
    return next((_number(completion, key) for key in _SCORES if completion.get(key) is not None), None)


def _number(values: dict[str, Any], key: str) -> float:
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidRecordError(f"'{key}' is not a finite number" if key in values else f"no key '{key}'")
    return float(value)
