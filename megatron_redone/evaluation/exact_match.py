"""Exact match of generated answers.

Thoughts before `</think>` are no part of an answer. It and the expected one are compared after the same steps:

- Label: the first line that is not empty; Unicode NFKC (full-width characters become plain ones); lower case; white
  space runs become one space; punctuation, quotes, brackets and white space at both ends go, but for a minus before a
  number, however it is written. "Joy." and "joy" match, "The answer is joy" and "joy", "-1" and "1" do not.
- Items: a JSON list of strings, or else pieces between line ends, commas and semicolons (, ; 、，；), each without a
  bullet or number before it, each treated as a label is. They match if they are the same set. F1 is taken over the
  two sets (1 where both are empty).
"""

import json
import logging
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from megatron_redone.evaluation.examples import ConversationExample
from megatron_redone.evaluation.thinking import leaves_thought_open, without_thoughts
from megatron_redone.generation.chat_prompts import prompt_ids
from megatron_redone.generation.hf_model import LoadedModel
from megatron_redone.generation.log_probabilities import Advance, BatchLimits, no_progress
from megatron_redone.generation.sampling import greedy_answers

log = logging.getLogger(__name__)

_SEPARATORS = re.compile(r"[\n,;、，；]")
_MINUS = re.compile(r"[-\u2212\u2013](?=\.?\d)")  # hyphen, minus sign, en dash
_BULLET = re.compile(r"^\s*(?:[-*•·]|\d+[.):、])\s+")
_SLACK = 16  # tokens beyond the longest expected answer: a longer one cannot match


def normalise_label(text: str) -> str:
    """A label as it is compared."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    return _normalise(line)


def normalise_items(text: str) -> frozenset[str]:
    """Items as they are compared."""
    pieces = _json_list(text)
    if pieces is None:
        pieces = [_BULLET.sub("", piece) for piece in _SEPARATORS.split(text)]
    return frozenset(item for piece in pieces if (item := _normalise(piece)))


def items_f1(expected: frozenset[str], found: frozenset[str]) -> float:
    """Twice what both have, over what each has."""
    if not expected and not found:
        return 1.0
    return 2 * len(expected & found) / (len(expected) + len(found))


def evaluate_answers(
    model: LoadedModel,
    examples: Sequence[ConversationExample],
    *,
    expects_items: bool,
    max_new_tokens: int | None,
    max_tokens: int,
    limits: BatchLimits,
    advance: Advance = no_progress,
) -> list[dict[str, Any]]:
    """Generates and compares.

    Returns:
        For each conversation its `record`, `expected`, `answer`, `exact` (0 or 1) and, of items, `f1`;
        `shortened` where the prompt lost its beginning. Thoughts are left out of `answer`; those that no token closes
        are told once, and stay.
    """
    if max_new_tokens is None:
        expected_ids = (model.tokenizer(example.expected, add_special_tokens=False)["input_ids"]
                        for example in examples)  # fmt: skip
        max_new_tokens = max(map(len, expected_ids)) + _SLACK
    room = max(1, min(max_tokens, model.limit) - max_new_tokens)
    prompts = [prompt_ids(model.tokenizer, example.prompt, example.beside) for example in examples]
    answers = greedy_answers(model, [prompt[-room:] for prompt in prompts], max_new_tokens, limits, advance)
    _warn_of_open_thoughts(model, prompts, answers, max_new_tokens)
    return [
        {
            "record": example.record,
            "expected": example.expected,
            "answer": answer,
            **compare(without_thoughts(example.expected), answer, expects_items),
            "shortened": len(prompt) > room,
        }
        for example, prompt, answer in zip(examples, prompts, map(without_thoughts, answers), strict=True)
    ]


def _warn_of_open_thoughts(
    model: LoadedModel, prompts: Sequence[list[int]], answers: Sequence[str], max_new_tokens: int
) -> None:
    pairs = zip(prompts, answers, strict=True)
    if count := sum(leaves_thought_open(model, prompt, answer) for prompt, answer in pairs):
        log.warning(
            "%s of %s answers are thoughts that %d tokens do not end, and are compared as they are; raise the "
            "source's max_new_tokens, or name a chat template that lets the model answer at once",
            f"{count:,}", f"{len(answers):,}", max_new_tokens,
        )  # fmt: skip


def compare(expected: str, answer: str, expects_items: bool) -> dict[str, float]:
    """`exact`, and `f1` of items."""
    if not expects_items:
        return {"exact": float(normalise_label(expected) == normalise_label(answer))}
    wanted, found = normalise_items(expected), normalise_items(answer)
    return {"exact": float(wanted == found), "f1": items_f1(wanted, found)}


def _normalise(text: str) -> str:
    text = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    start, end = 0, len(text)
    while start < end and _is_edge(text[start]) and not _MINUS.match(text, start):
        start += 1
    while end > start and _is_edge(text[end - 1]):
        end -= 1
    if _MINUS.match(text, start):
        return f"-{text[start + 1 : end]}"
    return text[start:end] or text  # what is punctuation alone stays


def _is_edge(character: str) -> bool:
    """Punctuation and white space, but for what begins a hashtag or a mention and what follows a number."""
    return character.isspace() or (unicodedata.category(character).startswith("P") and character not in "#@%")


def _json_list(text: str) -> list[str] | None:
    try:
        content = json.loads(text)
    except ValueError:
        return None
    if isinstance(content, list) and all(isinstance(item, str) for item in content):
        return content
    return None
