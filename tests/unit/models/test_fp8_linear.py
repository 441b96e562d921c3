"""Linear layers with emulated FP8: their products, their gradients, their delayed scales and their checkpoints."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from megatron_redone.config.fp8 import AmaxAlgo, Fp8Config, Fp8Recipe
from megatron_redone.config.model import Backend, ModelConfig, Precision
from megatron_redone.models.fp8_quantize import E4M3, E5M2
from megatron_redone.models.fp8_scaling import DelayedScaling, make_scaling
from megatron_redone.training.model_state import gather_weights
from tests.helpers.ranks import run_on_ranks
from tests.helpers.runs import Run, train


def _values(rows: int, columns: int, seed: int, size: float = 1.0) -> torch.Tensor:
    return (torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * size).bfloat16()


def test_delayed_scales_follow_the_history() -> None:
    """Three passes by hand: the scale of a pass comes from those before it."""
    scaling = make_scaling(Fp8Config(recipe=Fp8Recipe.delayed, amax_history=2, margin=1), None)
    weight = torch.ones(2, 2)
    for amax, scale in ((8.0, 1.0), (4.0, 448 / 8 / 2), (2.0, 448 / 8 / 2), (1.0, 448 / 4 / 2)):
        rounded, _, _ = scaling.forward(torch.tensor([[amax, 0.0]]), weight, True)
        assert rounded.scale == scale
        assert rounded.data.dtype is E4M3
    recent = make_scaling(Fp8Config(recipe=Fp8Recipe.delayed, amax_algo=AmaxAlgo.most_recent), None)
    for amax, scale in ((8.0, 1.0), (4.0, 57344 / 8), (0.0, 57344 / 4), (1.0, 57344 / 4)):
        assert recent.backward(torch.tensor([[amax]]))[0].scale == scale


def test_evaluation_leaves_the_history() -> None:
    scaling = make_scaling(Fp8Config(recipe=Fp8Recipe.delayed, amax_history=4), None)
    scaling.forward(_values(4, 4, 1), _values(4, 4, 2), True)
    before = scaling.state()
    scaling.forward(_values(4, 4, 3, size=100.0), _values(4, 4, 2), False)
    assert before is not None and torch.equal(scaling.state(), before)  # type: ignore[arg-type]


def test_restored_scales_go_on_bit_by_bit() -> None:
    config = Fp8Config(recipe=Fp8Recipe.delayed, amax_history=3)
    one, other = make_scaling(config, None), make_scaling(config, None)
    for seed in range(4):
        one.forward(_values(4, 4, seed, size=seed + 1.0), _values(4, 4, 9), True)
        one.backward(_values(4, 4, seed + 20))
    state = one.state()
    assert state is not None and isinstance(other, DelayedScaling)
    other.restore(state)
    for seed in range(4):
        gradient = _values(4, 4, seed + 30)
        assert torch.equal(one.backward(gradient)[0].dequantize(), other.backward(gradient)[0].dequantize())


@pytest.mark.parametrize("recipe", [Fp8Recipe.tensorwise, Fp8Recipe.blockwise])
def test_formats_of_gradients(recipe: Fp8Recipe) -> None:
    for_input, for_weight = make_scaling(Fp8Config(recipe=recipe), None).backward(_values(4, 4, 1))
    expected = E5M2 if recipe is Fp8Recipe.tensorwise else E4M3
    assert for_input.data.dtype is for_weight.data.dtype is expected


def layer_against_reference(recipe: str) -> list[float]:
    """On a rank: output and both gradients of a layer, against products of dequantised operands in fp64."""
    from megatron_redone.models.fp8_linear import Fp8ColumnParallelLinear
    from tests.helpers.runs import start

    model = start(Run(compute={"precision": Precision.fp8_emulated, "fp8": Fp8Config(recipe=Fp8Recipe[recipe])}))
    layer: Any = model.chunks[0].decoder.layers[0].mlp.linear_fc1
    assert isinstance(layer, Fp8ColumnParallelLinear)
    assert type(model.chunks[0].output_layer).__name__ == "ColumnParallelLinear", "the output layer stays in bf16"
    scaling = make_scaling(Fp8Config(recipe=Fp8Recipe[recipe]), None)
    values = _values(6, layer.weight.shape[1], 1).requires_grad_()
    gradient = _values(6, layer.weight.shape[0], 2, size=1e-3)
    output, _ = layer(values[:, None])
    output.backward(gradient[:, None])
    operand, for_weight, matrix = (part.dequantize().double() for part in scaling.forward(values, layer.weight, True))
    grad_input, grad_weight = (part.dequantize().double() for part in scaling.backward(gradient))
    assert values.grad is not None
    found = [output[:, 0], values.grad, layer.weight.grad]
    expected = [operand @ matrix.t(), grad_input @ matrix, grad_weight.t() @ for_weight]
    return [float((f.double() - e).abs().max() / e.abs().max()) for f, e in zip(found, expected, strict=True)]


@pytest.mark.distributed
@pytest.mark.parametrize("recipe", ["delayed", "tensorwise", "blockwise"])
def test_products_are_those_of_the_rounded_operands(recipe: str) -> None:
    [differences] = run_on_ranks(1, layer_against_reference, recipe)
    assert max(differences) < 2**-8  # rounded to bf16 once


@pytest.mark.distributed
@pytest.mark.parametrize("recipe", [Fp8Recipe.delayed, Fp8Recipe.blockwise])
def test_tensor_and_sequence_parallel_follow_one_process(recipe: Fp8Recipe) -> None:
    """Scales are the same on all layouts where the largest magnitudes are taken over the ranks, or by block."""
    compute = {"precision": Precision.fp8_emulated, "fp8": Fp8Config(recipe=recipe, amax_history=8)}
    [alone] = run_on_ranks(1, train, Run(compute=compute), 3)
    parallel = {"tensor_model_parallel_size": 2, "sequence_parallel": True}
    for shared in run_on_ranks(2, train, Run(compute=compute, parallel=parallel), 3):
        assert [loss for loss, _ in shared] == pytest.approx([loss for loss, _ in alone], rel=2e-3)


def resumed_losses(folder: str) -> tuple[list[float], list[float]]:
    """On a rank: losses of two steps after two, at once and over a checkpoint."""
    from megatron_redone.config.optimizer import OptimizerConfig
    from megatron_redone.models.build import build_model
    from megatron_redone.models.wrapping import wrap_data_parallel
    from megatron_redone.objectives.language_modelling import LanguageModelling
    from megatron_redone.training.model_state import full_state, load_full
    from megatron_redone.training.optimizer import build_optimizer, set_learning_rate
    from megatron_redone.training.train_step import train_step
    from tests.helpers.runs import micro_batches, random_rows, start
    from tests.helpers.sharded_saves import save_sharded

    fp8 = Fp8Config(recipe=Fp8Recipe.delayed, amax_history=4)
    run = Run(compute={"precision": Precision.fp8_emulated, "fp8": fp8})
    first = start(run)
    compute = ModelConfig(precision=Precision.fp8_emulated, backend=Backend.torch, fp8=fp8)
    losses: list[list[float]] = [[], []]
    for attempt, found in enumerate(losses):
        model = first if not attempt else build_model(first.architecture, compute, first.context, seed=2)
        chunks = wrap_data_parallel(model)
        optimizer = build_optimizer(chunks, OptimizerConfig(lr=1e-2))
        set_learning_rate(optimizer, 1e-2)
        if attempt:
            load_full(model.chunks, optimizer, Path(folder))
        for step in range(2 * attempt, 4):
            batch = random_rows(4, 32, model.architecture.vocab_size, seed=step)
            mine = micro_batches(batch, model.context, rows=4 // model.context.data_size)
            found.append(train_step(chunks, optimizer, LanguageModelling(model.row_placer), mine).loss)
            if step == 1 and not attempt:
                save_sharded(full_state(model.chunks, optimizer), Path(folder))
    return losses[0][2:], losses[1]


@pytest.mark.distributed
def test_a_resumed_run_does_not_jump(tmp_path: Path) -> None:
    """Delayed scales come back with the checkpoint."""
    [(through, resumed)] = run_on_ranks(1, resumed_losses, str(tmp_path))
    assert resumed == through


def test_weights_are_gathered_before_they_are_saved() -> None:
    """What overlap_param_gather leaves to the next forward pass (CUDA only) a checkpoint must not miss."""
    calls: list[tuple[bool, bool]] = []
    chunks = [
        SimpleNamespace(
            ddp_config=SimpleNamespace(overlap_param_gather=overlap),
            parameters=list,
            start_param_sync=lambda force_sync, overlap=overlap: calls.append((overlap, force_sync)),
        )
        for overlap in (True, False)
    ]
    for optimizer in (
        SimpleNamespace(model_chunks=chunks),
        SimpleNamespace(chained_optimizers=[SimpleNamespace(model_chunks=chunks)]),
    ):
        gather_weights(optimizer)  # type: ignore[arg-type]
    assert calls == [(True, True)] * 2
