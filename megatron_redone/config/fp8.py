"""How the matrix products of layers are computed in eight bits, and which machine can do it."""

import enum
from dataclasses import dataclass

from megatron_redone.config.field import key
from megatron_redone.errors import UserError


class Fp8Recipe(enum.Enum):
    """Where the scale of a quantised tensor comes from; the names are megatron-core's.

    delayed: one scale a tensor, from the largest magnitudes of earlier passes. tensorwise: one scale a tensor,
    from the tensor itself. blockwise: one for every 1 x 128 values of activations and gradients and every
    128 x 128 of a weight, powers of two. mxfp8: one for every 32 values, a power of two.
    """

    delayed = "delayed"
    tensorwise = "tensorwise"
    blockwise = "blockwise"
    mxfp8 = "mxfp8"


class Fp8Format(enum.Enum):
    """Types of the operands: `hybrid` takes e5m2 for gradients of outputs, e4m3 for everything else."""

    hybrid = "hybrid"
    e4m3 = "e4m3"


class AmaxAlgo(enum.Enum):
    """Which entry of the history of largest magnitudes the delayed recipe scales by."""

    max = "max"
    most_recent = "most_recent"


@dataclass(frozen=True, kw_only=True)
class Fp8Config:
    """FP8 of the layers' matrix products; embedding, output layer, norms and attention stay in bf16.

    Defaults are those of Transformer Engine 2.11 (transformer_engine/common/recipe/__init__.py), not
    megatron-core's, whose history is one entry long.
    """

    recipe: Fp8Recipe = key("delayed, tensorwise, blockwise or mxfp8", Fp8Recipe.tensorwise)
    format: Fp8Format | None = key(
        "hybrid or e4m3; null takes hybrid for one scale a tensor and e4m3 for one scale a block", None
    )
    margin: int = key("recipe=delayed: scales are divided by 2 to this power", 0, at_least=0)
    amax_history: int = key("recipe=delayed: passes that the history of largest magnitudes holds", 1024, at_least=1)
    amax_algo: AmaxAlgo = key("recipe=delayed: which of the history counts, max or most_recent", AmaxAlgo.max)
    first_layers_bf16: int = key("layers at the start that stay in bf16; not with recipe=delayed", 0, at_least=0)
    last_layers_bf16: int = key("layers at the end that stay in bf16; not with recipe=delayed", 0, at_least=0)
    fp8_param_gather: bool = key(
        "precision=fp8: keep weights in FP8, and gather them so from the distributed optimizer; a checkpoint then has "
        "the rounded weights (not yet measured)",
        False,
    )

    def __post_init__(self) -> None:
        if self.recipe is Fp8Recipe.delayed and self.keeps_layers:
            raise UserError(
                "first_layers_bf16, last_layers_bf16: recipe=delayed updates its scales once a pass over all layers "
                "and cannot leave some out (megatron-core refuses it); take recipe=tensorwise"
            )

    @property
    def keeps_layers(self) -> bool:
        """Whether any layer stays in bf16."""
        return bool(self.first_layers_bf16 or self.last_layers_bf16)

    @property
    def operand_format(self) -> Fp8Format:
        """The format, or that of the recipe where none was given."""
        if self.format is not None:
            return self.format
        per_tensor = self.recipe in (Fp8Recipe.delayed, Fp8Recipe.tensorwise)
        return Fp8Format.hybrid if per_tensor else Fp8Format.e4m3

    def is_bf16_layer(self, layer: int, layers: int) -> bool:
        """Whether a layer, counted from 0 over the whole model, stays in bf16."""
        return layer < self.first_layers_bf16 or layer >= layers - self.last_layers_bf16


@dataclass(frozen=True, kw_only=True)
class Fp8Machine:
    """What decides which recipes run: (major, minor) of device, CUDA and Transformer Engine."""

    compute_capability: tuple[int, int]
    cuda: tuple[int, int]
    transformer_engine: tuple[int, int]


def supported_recipes(machine: Fp8Machine) -> list[Fp8Recipe]:
    """The recipes that a machine can run.

    After check_fp8_support, check_fp8_block_scaling_support and check_mxfp8_support in
    transformer_engine/pytorch/quantization.py (2.11), and the versions that get_fp8_recipe in
    megatron/core/fp8_utils.py (0.16.1) asks for.
    """
    device, engine = machine.compute_capability, machine.transformer_engine
    hopper = device >= (9, 0)
    runs = {
        Fp8Recipe.delayed: hopper or (device >= (8, 9) and machine.cuda >= (12, 1)),
        Fp8Recipe.tensorwise: (hopper or (device >= (8, 9) and machine.cuda >= (12, 1))) and engine >= (2, 2),
        Fp8Recipe.blockwise: hopper and machine.cuda >= (12, 9) and engine >= (2, 3),
        Fp8Recipe.mxfp8: (10, 0) <= device < (12, 0) and engine >= (2, 1),
    }
    return [recipe for recipe, possible in runs.items() if possible]


def check_recipe(recipe: Fp8Recipe, machine: Fp8Machine) -> None:
    """Refuses a recipe that a machine cannot run, in one line that says which it can."""
    possible = supported_recipes(machine)
    if recipe in possible:
        return
    have = ", ".join(
        f"{name} {major}.{minor}"
        for name, (major, minor) in (
            ("compute capability", machine.compute_capability),
            ("CUDA", machine.cuda),
            ("Transformer Engine", machine.transformer_engine),
        )
    )
    names = ", ".join(p.value for p in possible)
    way = f"it can do {names}" if possible else "it can do none; set precision=bf16"
    raise UserError(f"fp8.recipe: {recipe.value} does not run on this machine ({have}); {way}")
