"""Scales of the three recipes against the definition, worked out beside them in plain tensors."""

import pytest
import torch

from megatron_redone.config.fp8 import AmaxAlgo, Fp8Config, Fp8Format, Fp8Recipe
from megatron_redone.models.fp8_quantize import E4M3, E5M2, Quantized
from megatron_redone.models.fp8_scaling import DelayedScaling, make_scaling


def operands(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(*size, generator=generator) * 3 for size in ((192, 160), (96, 160), (192, 96)))  # type: ignore[return-value]


@pytest.mark.parametrize("algo", AmaxAlgo)
def test_delayed_scales_come_from_the_passes_before(algo: AmaxAlgo) -> None:
    config = Fp8Config(recipe=Fp8Recipe.delayed, amax_history=3, amax_algo=algo, margin=1)
    scaling, seen = make_scaling(config, None), []
    for number in range(5):
        found = operands(number)
        input, weight, gradient = found
        first, again, second = scaling.forward(input * 2**number, weight, training=True)
        [third, _] = scaling.backward(gradient)
        assert first is again and third.data.dtype is E5M2 and second.data.dtype is E4M3
        for operand, quantized in enumerate((first, second, third)):
            history = [amax[operand] for amax in seen[-3:]]
            largest = 57344.0 if operand == 2 else 448.0
            chosen = (max(history) if algo is AmaxAlgo.max else history[-1]) if history else None
            expected = 1.0 if chosen is None else largest / chosen / 2
            assert float(quantized.scale) == pytest.approx(expected, rel=1e-6)
        seen.append([float(tensor.abs().max()) for tensor in (input * 2**number, weight, gradient)])


def test_evaluation_takes_scales_and_leaves_them() -> None:
    scaling = make_scaling(Fp8Config(recipe=Fp8Recipe.delayed, amax_history=4), None)
    input, weight, _ = operands(0)
    scaling.forward(input, weight, training=True)
    before = scaling.state()
    assert before is not None
    scaling.forward(input * 9, weight * 9, training=False)
    assert torch.equal(before, scaling.state())  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [2, 4, 6])
def test_a_state_is_taken_back_with_the_latest_of_its_history(length: int) -> None:
    one = make_scaling(Fp8Config(recipe=Fp8Recipe.delayed, amax_history=4), None)
    for number in range(4):
        input, weight, gradient = operands(number)
        one.forward(input, weight, training=True)
        one.backward(gradient)
    state = one.state()
    assert state is not None
    other = DelayedScaling(Fp8Config(recipe=Fp8Recipe.delayed, amax_history=length), E5M2, None)
    other.restore(state)
    kept = min(length, 4) + 1
    assert torch.equal(other.state()[:, :kept], state[:, :kept]) and not other.state()[:, kept:].any()
    if length == 4:
        results = [scaling.forward(*operands(9)[:2], training=True) for scaling in (one, other)]
        assert all(torch.equal(a.dequantize(), b.dequantize()) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("operand_format", [Fp8Format.hybrid, Fp8Format.e4m3])
@pytest.mark.parametrize("recipe", [Fp8Recipe.tensorwise, Fp8Recipe.blockwise])
def test_current_scales_use_the_whole_range_and_round_within_a_step(
    recipe: Fp8Recipe, operand_format: Fp8Format
) -> None:
    scaling = make_scaling(Fp8Config(recipe=recipe, format=operand_format), None)
    input, weight, gradient = operands(5)
    gradient_type = E5M2 if operand_format is Fp8Format.hybrid else E4M3
    for found, values in zip(scaling.forward(input, weight, True), (input, input, weight), strict=True):
        check(found, values, E4M3, 0.5)
    for found in scaling.backward(gradient):
        check(found, gradient, gradient_type, 0.5)
    assert scaling.state() is None


def check(found: Quantized, values: torch.Tensor, dtype: torch.dtype, used: float) -> None:
    largest = torch.finfo(dtype).max
    assert found.data.dtype is dtype and used * largest <= float(found.data.float().abs().max()) <= largest
    step = torch.finfo(dtype).eps / 2
    tiny = torch.finfo(dtype).smallest_normal / found.scale.min()
    error = (found.dequantize() - values).abs()
    assert bool((error <= step * values.abs() * (1 + 1e-6) + tiny).all())


def test_blocks_run_along_what_is_summed_over() -> None:
    scaling = make_scaling(Fp8Config(recipe=Fp8Recipe.blockwise), None)
    input, weight, gradient = operands(2)
    tiles = [found.tile for found in (*scaling.forward(input, weight, True), *scaling.backward(gradient))]
    assert tiles == [(1, 128), (128, 1), (128, 128), (1, 128), (128, 1)]
