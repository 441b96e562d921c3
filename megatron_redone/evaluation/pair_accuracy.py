"""How often a model finds the chosen response likelier than the rejected one."""

from collections.abc import Sequence
from typing import Any

from megatron_redone.evaluation.examples import PairExample
from megatron_redone.generation.chat_prompts import pair_ids
from megatron_redone.generation.hf_model import LoadedModel
from megatron_redone.generation.log_probabilities import Advance, BatchLimits, Row, log_probabilities, no_progress


def evaluate_pairs(
    model: LoadedModel,
    examples: Sequence[PairExample],
    *,
    max_tokens: int,
    limits: BatchLimits,
    advance: Advance = no_progress,
) -> list[dict[str, Any]]:
    """The log-probabilities of both sides.

    Returns:
        For each pair its `record`, and of `chosen` and `rejected` the natural log-probability and, under
        `chosen_tokens` and `rejected_tokens`, how many tokens it is the sum of; `shortened` where a side was too long.
    """
    rows: list[Row] = []
    shortened: list[bool] = []
    for example in examples:
        pair = pair_ids(model.tokenizer, example.prompt, (example.chosen, example.rejected), example.beside)
        sides = [_fit(pair.prompt or [model.document_start], side, min(max_tokens, model.limit))
                 for side in (pair.chosen, pair.rejected)]  # fmt: skip
        rows += sides
        shortened.append(any(len(row.ids) < len(pair.prompt) + len(side)
                             for row, side in zip(sides, (pair.chosen, pair.rejected), strict=True)))  # fmt: skip
    sums = log_probabilities(model, rows, limits, advance).tolist()
    counts = [len(row.ids) - row.first for row in rows]
    return [
        {
            "record": example.record,
            "chosen": sums[2 * number],
            "rejected": sums[2 * number + 1],
            "chosen_tokens": counts[2 * number],
            "rejected_tokens": counts[2 * number + 1],
            "shortened": shortened[number],
        }
        for number, example in enumerate(examples)
    ]


def _fit(prompt: list[int], response: list[int], limit: int) -> Row:
    """A prompt too long loses its beginning; a response that alone is too long loses its end."""
    response = response[: limit - 1]
    prompt = prompt[-(limit - len(response)) :]
    return Row(prompt + response, len(prompt))
