"""Bits per byte of held-out texts.

Bits per byte is the sum of a text's token losses over ln 2 and over its UTF-8 bytes. It compares models with
different tokenizers, which loss per token cannot (The Pile, arXiv 2101.00027, section 3.1).

A text stands behind the token that begins a document (BOS where the tokenizer sets one, else the token that ends the
document before it, as in pretraining), so that its first token is counted too; the end of the text is not. A text
longer than the window is read in several that move on by a stride: the tokens that a window shares with the one
before it are context and are not counted again.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from megatron_redone.evaluation.examples import TextExample
from megatron_redone.generation.hf_model import LoadedModel
from megatron_redone.generation.log_probabilities import Advance, BatchLimits, Row, log_probabilities, no_progress


def windows(ids: list[int], window: int, stride: int) -> Iterator[Row]:
    """Rows of at most `window` tokens in which every token but the first is scored once.

    Args:
        ids: A text behind its first token.
        window: Tokens of a row.
        stride: Tokens that a row moves on by, fewer than `window`.
    """
    end = min(len(ids), window)
    yield Row(ids[:end], 1)
    while end < len(ids):
        scored_from, end = end, min(len(ids), end + stride)
        start = max(0, end - window)
        yield Row(ids[start:end], scored_from - start)


def evaluate_texts(
    model: LoadedModel,
    examples: Sequence[TextExample],
    *,
    window: int,
    stride: int,
    limits: BatchLimits,
    advance: Advance = no_progress,
) -> list[dict[str, Any]]:
    """What each text takes.

    Returns:
        For each text its `record`, `tokens`, `bytes` (of UTF-8) and `bits`.
    """
    window = min(window, model.limit)
    stride = min(stride, window - 1)
    encoded = model.texts.encode_batch([example.text for example in examples])
    rows: list[Row] = []
    owners: list[int] = []
    at = 0
    for number, length in enumerate(encoded.lengths.tolist()):
        ids = [model.document_start, *encoded.ids[at : at + length].tolist()]
        at += length
        for row in windows(ids, window, stride):
            rows.append(row)
            owners.append(number)
    bits = [0.0] * len(examples)
    for owner, value in zip(owners, log_probabilities(model, rows, limits, advance).tolist(), strict=True):
        bits[owner] -= value / math.log(2)
    return [
        {
            "record": example.record,
            "tokens": int(encoded.lengths[number]),
            "bytes": len(example.text.encode()),
            "bits": bits[number],
        }
        for number, example in enumerate(examples)
    ]
