"""How many tokens FP8 products take."""

from typing import Any

import pytest

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
