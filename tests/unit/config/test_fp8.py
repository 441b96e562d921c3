"""Which FP8 recipes a machine can do, what is said where it cannot, and what a recipe computes in."""

import pytest

from megatron_redone.config.fp8 import Fp8Config, Fp8Format, Fp8Machine, Fp8Recipe, check_recipe, supported_recipes
from megatron_redone.errors import UserError

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


def test_delayed_keeps_no_layer() -> None:
    with pytest.raises(UserError, match="tensorwise"):
        Fp8Config(recipe=DELAYED, first_layers_bf16=1)
    kept = Fp8Config(recipe=TENSORWISE, first_layers_bf16=1, last_layers_bf16=2)
    assert [kept.is_bf16_layer(layer, 5) for layer in range(5)] == [True, False, False, True, True]


@pytest.mark.parametrize(
    ("recipe", "expected"), [(DELAYED, "hybrid"), (TENSORWISE, "hybrid"), (BLOCKWISE, "e4m3"), (MXFP8, "e4m3")]
)
def test_one_scale_a_tensor_takes_the_wider_range_for_gradients(recipe: Fp8Recipe, expected: str) -> None:
    assert Fp8Config(recipe=recipe).operand_format.value == expected
    for format in Fp8Format:
        assert Fp8Config(recipe=recipe, format=format).operand_format is format
