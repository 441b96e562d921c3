"""How likely a model finds texts: the mean loss of their tokens, many at once."""

from collections.abc import Sequence

import numpy as np

from megatron_redone.generation.hf_model import LoadedModel
from megatron_redone.generation.log_probabilities import Advance, BatchLimits, Row, log_probabilities, no_progress


def mean_losses(
    model: LoadedModel, texts: Sequence[str], tokens: int, limits: BatchLimits, advance: Advance = no_progress
) -> np.ndarray:
    """The loss of a text's tokens, in nats a token: the logarithm of its perplexity.

    A text stands behind the token that begins a document, as in pretraining, so that its first token counts too;
    the end of it does not.

    Args:
        model: Which one.
        texts: None is empty.
        tokens: Of a text that are read, from its beginning.
        limits: Of a batch.
        advance: Called after each batch.

    Returns:
        float64 [N].
    """
    most = min(tokens, model.limit - 1)
    encoded = model.texts.encode_batch(list(texts))
    ends = np.cumsum(encoded.lengths)
    rows = []
    for end, length in zip(ends.tolist(), encoded.lengths.tolist(), strict=True):
        start = end - length
        rows.append(Row([model.document_start, *encoded.ids[start : min(end, start + most)].tolist()], 1))
    counts = np.array([len(row.ids) - 1 for row in rows], np.float64)
    return -log_probabilities(model, rows, limits, advance) / counts
