"""Answers of models that think aloud before they answer: what stands behind `</think>` is the answer.

Thoughts have a budget of their own, and texts that end an answer do not end a thought. A thought that is still open
when its budget is spent is closed, and the model answers from where it is (as Qwen3's thinking budget does, Qwen3
Technical Report, arXiv 2505.09388, section 4.3).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from megatron_redone.generation.hf_model import LoadedModel
from megatron_redone.generation.log_probabilities import Advance, BatchLimits
from megatron_redone.generation.sampling import cut_at, greedy_answers

OPEN, CLOSE = "<think>", "</think>"
_HEAD = 8  # tokens at a prompt's end in which a chat template opens a thought


@dataclass(frozen=True)
class Thinking:
    """What becomes of a model's thoughts.

    Attributes:
        enabled: Whether the chat template is told that it may think.
        tokens: Of its thoughts at most.
    """

    enabled: bool = False
    tokens: int = 0


def answers_behind_thoughts(
    model: LoadedModel,
    prompts: Sequence[list[int]],
    thinking: Thinking,
    answer_tokens: int,
    stops: Sequence[str],
    limits: BatchLimits,
    advance: Advance,
    done: Callable[[Sequence[int], Sequence[str]], None],
) -> list[str]:
    """Two passes: thoughts up to `</think>`, then answers.

    A model that ends its turn without a thought has answered at once, and that is its answer.

    Args:
        model: Which one.
        prompts: Ids.
        thinking: The budget of thoughts.
        answer_tokens: Of an answer at most.
        stops: Texts before which an answer is cut.
        limits: Of a batch.
        advance: Called after each batch of answers.
        done: Called after each batch with the numbers of its prompts and their answers.
    """
    thoughts = greedy_answers(model, prompts, thinking.tokens, limits, stops=[CLOSE])
    opened = [
        OPEN in thought or OPEN in model.tokenizer.decode(prompt[-_HEAD:])
        for thought, prompt in zip(thoughts, prompts, strict=True)
    ]
    answers = [cut_at(thought, stops) for thought in thoughts]
    at_once = [number for number, is_open in enumerate(opened) if not is_open]
    done(at_once, [answers[number] for number in at_once])
    behind = [number for number, is_open in enumerate(opened) if is_open]
    longer = [
        prompts[number] + model.tokenizer.encode(f"{thoughts[number].rstrip()}\n{CLOSE}\n\n", add_special_tokens=False)
        for number in behind
    ]
    found = greedy_answers(
        model,
        longer,
        answer_tokens,
        limits,
        advance,
        stops,
        lambda batch, texts: done([behind[place] for place in batch], texts),
    )
    for number, answer in zip(behind, found, strict=True):
        answers[number] = answer
    return answers


def without_thoughts(text: str) -> str:
    """What stands behind the last thought of a model that was not asked for any."""
    return text.rpartition(CLOSE)[2].lstrip() if CLOSE in text else text


def leaves_thought_open(model: LoadedModel, prompt: Sequence[int], text: str) -> bool:
    """Whether a text, or the end of the prompt before it, opens a thought that the text does not close.

    Args:
        model: Which one.
        prompt: Ids.
        text: What it wrote.
    """
    _, opened, thought = (model.tokenizer.decode(prompt[-_HEAD:]) + text).rpartition(OPEN)
    return bool(opened) and CLOSE not in thought
