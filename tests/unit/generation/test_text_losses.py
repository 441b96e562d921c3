"""Mean losses of texts against transformers' own, however they are batched."""

from typing import Any

import pytest

from megatron_redone.generation.hf_model import LoadedModel
from megatron_redone.generation.log_probabilities import BatchLimits
from megatron_redone.generation.text_losses import mean_losses
from tests.helpers.chat_models import token_losses

TEXTS = [
    "a",
    "The ferry leaves at nine, the last one at six.",
    "周末去了湖边的小店",
    "<|endoftext|> is text",
]


@pytest.mark.parametrize("limits", [BatchLimits(1, 1), BatchLimits(8, 1000)])
@pytest.mark.parametrize("tokens", [5, 500])
def test_a_loss_is_transformers_mean_over_the_first_tokens(
    chat_model: LoadedModel, theirs: Any, limits: BatchLimits, tokens: int
) -> None:
    expected = []
    for text in TEXTS:
        ids = chat_model.texts.encode(text)[:tokens]
        expected.append(token_losses(theirs, [chat_model.document_start, *ids]).mean().item())
    assert mean_losses(chat_model, TEXTS, tokens, limits).tolist() == pytest.approx(expected, rel=1e-5)
