"""Main weights of Transformer Engine's own FP8 weights, dithered: what megatron-core's optimizer then holds.

    python -m tests.helpers.real_fp8_weights

Prints for each recipe, as JSON: how many weights lie in FP8; whether all main weights round to the bf16 values that
the weights were given, before and after; the share that dithering has moved; and whether what the model holds stayed.
"""

import json
from typing import Any

from tests.helpers import real_training

import torch  # isort: skip
from megatron.core.fp8_utils import is_float8tensor

from megatron_redone.architectures import parse_architecture
from megatron_redone.config.optimizer import OptimizerConfig
from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.distributed.context import ParallelContext, start_context
from megatron_redone.models.set_weight import set_weight
from megatron_redone.models.shards import iterate_shards
from megatron_redone.models.wrapping import wrap_data_parallel
from megatron_redone.training.dithering import dither_main_weights
from megatron_redone.training.main_weights import main_weights, optimizer_parts
from megatron_redone.training.optimizer import build_optimizer
from tests.helpers import real_engine

named_type = torch.Tensor.type


def type_on_a_card(weight: torch.Tensor, *args: Any, **keys: Any) -> Any:
    """FP8 tensors take themselves for tensors of a card already, others are named so by cpu_platform."""
    found = named_type(weight, *args, **keys)
    return found.replace("cuda.cuda", "cuda") if isinstance(found, str) else found


RECIPES = ("tensorwise", "delayed", "blockwise")


def look(recipe: str, context: ParallelContext) -> dict[str, Any]:
    """One model, before and after."""
    wanted = {"model": {"precision": "fp8", "fp8.recipe": recipe, "fp8.fp8_param_gather": True}}
    model = real_training.engine_model(wanted, parse_architecture(real_engine.SHAPE), context)
    given = {}
    for shard in iterate_shards(model.chunks, model.architecture, context):
        random = torch.Generator().manual_seed(len(given))
        given[shard.name] = 0.05 * torch.randn(shard.parameter.shape, generator=random).bfloat16()
        set_weight(shard.parameter, given[shard.name])
    optimizer = build_optimizer(wrap_data_parallel(model), OptimizerConfig())
    mains = [weight for part in optimizer_parts(optimizer) for weight in main_weights(part, model)]
    held = [_values(weight.shard.parameter) for weight in mains]

    def rounds() -> bool:
        return all(torch.equal(main.main.bfloat16(), given[main.shard.name].view(-1)) for main in mains)

    before = rounds()
    dither_main_weights(model, optimizer, seed=7)
    moved = [float((main.main != given[main.shard.name].view(-1)).float().mean()) for main in mains]
    return {
        "weights": len(mains),
        "in_fp8": sum(is_float8tensor(main.shard.parameter) for main in mains),
        "round_to_given": [before, rounds()],
        "moved": min(moved),
        "model_stays": all(torch.equal(a, _values(b.shard.parameter)) for a, b in zip(held, mains, strict=True)),
    }


def _values(weight: Any) -> torch.Tensor:
    return weight.dequantize().clone() if is_float8tensor(weight) else weight.detach().clone()


if __name__ == "__main__":
    torch.Tensor.type = type_on_a_card  # type: ignore[assignment]
    here = start_context(ParallelConfig(), Device.cpu)
    for name in RECIPES:
        print(json.dumps(look(name, here)), flush=True)
