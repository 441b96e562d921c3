"""Which recipes a machine can do, and what is said where it cannot."""

from typing import Any

import pytest

from megatron_redone.config.fp8 import Fp8Config, Fp8Machine, Fp8Recipe, check_recipe, supported_recipes
from megatron_redone.config.model import Backend, ModelConfig, Precision
from megatron_redone.config.parallel import ParallelConfig
from megatron_redone.errors import UserError
from megatron_redone.models.fp8_machine import check_fp8_rows

DELAYED, TENSORWISE, BLOCKWISE, MXFP8 = Fp8Recipe


@pytest.mark.parametrize(
    ("name", "capability", "cuda", "engine", "expected"),
    [
        ("A100", (8, 0), (13, 0), (2, 11), []),
        ("L40S", (8, 9), (12, 4), (2, 11), [DELAYED, TENSORWISE]),
        ("H200", (9, 0), (13, 0), (2, 11), [DELAYED, TENSORWISE, BLOCKWISE]),
        ("H200, old CUDA", (9, 0), (12, 8), (2, 11), [DELAYED, TENSORWISE]),
        ("H200, old TE", (9, 0), (12, 9), (2, 2), [DELAYED, TENSORWISE]),
        ("H200, older TE", (9, 0), (12, 9), (2, 1), [DELAYED]),
        ("B200", (10, 0), (13, 0), (2, 11), [DELAYED, TENSORWISE, BLOCKWISE, MXFP8]),
        ("RTX 5090", (12, 0), (13, 0), (2, 11), [DELAYED, TENSORWISE, BLOCKWISE]),
    ],
)
def test_recipes(
    name: str, capability: tuple[int, int], cuda: tuple[int, int], engine: tuple[int, int], expected: list[Fp8Recipe]
) -> None:
    machine = Fp8Machine(compute_capability=capability, cuda=cuda, transformer_engine=engine)
    assert supported_recipes(machine) == expected, name
    for recipe in Fp8Recipe:
        if recipe in expected:
            check_recipe(recipe, machine)
            continue
        with pytest.raises(UserError) as error:
            check_recipe(recipe, machine)
        text = str(error.value)
        assert "\n" not in text and recipe.value in text
        assert all(possible.value in text for possible in expected)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"precision": Precision.fp8, "backend": Backend.torch}, "needs backend=transformer_engine"),
        ({"precision": Precision.fp8_emulated, "backend": Backend.transformer_engine}, "needs backend=torch"),
        ({"precision": Precision.fp8_emulated, "fp8": Fp8Config(recipe=MXFP8)}, "not emulated"),
        ({"precision": Precision.bf16, "fp8": Fp8Config(recipe=DELAYED)}, "precision=fp8"),
        ({"precision": Precision.fp8_emulated, "fp8": Fp8Config(fp8_param_gather=True)}, "needs precision=fp8"),
    ],
)
def test_what_does_not_go_together(keys: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        ModelConfig(**keys)


def test_delayed_keeps_no_layer() -> None:
    with pytest.raises(UserError, match="tensorwise"):
        Fp8Config(recipe=DELAYED, first_layers_bf16=1)
    kept = Fp8Config(recipe=TENSORWISE, first_layers_bf16=1, last_layers_bf16=2)
    assert [kept.is_bf16_layer(layer, 5) for layer in range(5)] == [True, False, False, True, True]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"overlap_param_gather": True, "use_distributed_optimizer": False}, "use_distributed_optimizer"),
        ({"overlap_param_gather": True, "overlap_grad_reduce": False}, "overlap_grad_reduce"),
        ({"tp_comm_overlap": True}, "sequence_parallel"),
    ],
)
def test_overlap_that_cannot_be(keys: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        ParallelConfig(**keys)


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
