"""How many tokens FP8 products take."""

from typing import Any

import pytest

from megatron_redone.config.fp8 import Fp8Config, Fp8Recipe
from megatron_redone.config.model import ModelConfig, Precision
from megatron_redone.config.parallel import ParallelConfig
from megatron_redone.errors import UserError
from megatron_redone.models.fp8_machine import check_fp8_rows


@pytest.mark.parametrize(
    ("parallel", "rows", "length", "fits"),
    [
        ({}, 1, 4096, True),
        ({}, 1, 4100, False),
        ({}, 4, 4100, True),
        ({"context_parallel_size": 2}, 1, 4112, False),
        ({"tensor_model_parallel_size": 2}, 1, 4112, True),
        ({"tensor_model_parallel_size": 2, "sequence_parallel": True}, 1, 4112, False),
    ],
)
def test_tokens_that_products_take(parallel: dict[str, Any], rows: int, length: int, fits: bool) -> None:
    layout = ParallelConfig(**parallel)
    check_fp8_rows(ModelConfig(), layout, rows, length)
    if fits:
        check_fp8_rows(ModelConfig(precision=Precision.fp8), layout, rows, length)
    else:
        with pytest.raises(UserError, match="multiple of 16 tokens"):
            check_fp8_rows(ModelConfig(precision=Precision.fp8), layout, rows, length)


@pytest.mark.parametrize(
    ("recipe", "sequence_parallel", "multiple"),
    [
        (Fp8Recipe.blockwise, True, 128),  # blocks are quantised before ranks exchange them
        (Fp8Recipe.blockwise, False, 16),
        (Fp8Recipe.mxfp8, True, 32),
        (Fp8Recipe.tensorwise, True, 16),
    ],
)
def test_recipes_take_tokens_of_a_rank_by_their_blocks(
    recipe: Fp8Recipe, sequence_parallel: bool, multiple: int
) -> None:
    model = ModelConfig(precision=Precision.fp8, fp8=Fp8Config(recipe=recipe))
    layout = ParallelConfig(tensor_model_parallel_size=2, sequence_parallel=sequence_parallel)
    assert model.tokens_multiple(sequence_parallel) == multiple
    ranks = 2 if sequence_parallel else 1
    check_fp8_rows(model, layout, 1, 33 * ranks * multiple)
    with pytest.raises(UserError, match=f"multiple of {multiple} tokens on each of the {ranks} ranks"):
        check_fp8_rows(model, layout, 1, 33 * ranks * multiple + ranks * multiple // 2)
