"""Which model, and how it is computed."""

import enum
from dataclasses import dataclass

from megatron_redone.config.field import key
from megatron_redone.config.fp8 import Fp8Config, Fp8Recipe
from megatron_redone.errors import UserError


class Backend(enum.Enum):
    """Whose modules a layer is made of."""

    auto = "auto"
    torch = "torch"
    transformer_engine = "transformer_engine"


class Precision(enum.Enum):
    """The type of weights and activations; gradients, main weights and optimizer state are fp32 either way.

    Under fp8 and fp8_emulated it is bf16, and the matrix products of layers take operands rounded to FP8: by
    Transformer Engine's kernels, or by rounding to FP8 and back before a product in fp32 (any device, slow).
    auto is bf16 where that is fast, else fp32: on CUDA devices, and on processors with avx512_bf16 or AMX. A run that
    goes on stays with what it began with.
    """

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp8 = "fp8"
    fp8_emulated = "fp8_emulated"

    @property
    def is_fp8(self) -> bool:
        """Whether matrix products of layers have FP8 operands."""
        return self in (Precision.fp8, Precision.fp8_emulated)


def check_plain(precision: "Precision") -> None:
    """Refuses FP8, and leaving it open, where a model is only read from."""
    if precision.is_fp8 or precision is Precision.auto:
        raise UserError(f"precision: {precision.value} is for training; take bf16 or fp32 here")


class CrossEntropyFusion(enum.Enum):
    """Whose cross entropy: megatron-core's plain one, its fused one (`native`), or Transformer Engine's (`te`).

    auto is native where it runs, on CUDA devices in bf16 or FP8, else plain.
    """

    auto = "auto"
    plain = "plain"
    native = "native"
    te = "te"


class CudaGraphs(enum.Enum):
    """Who captures layers as CUDA graphs: nobody, or megatron-core (`local`)."""

    none = "none"
    local = "local"


class Recompute(enum.Enum):
    """Which activations are computed again in the backward pass instead of being kept."""

    none = "none"
    selective = "selective"
    full = "full"


RECOMPUTE_MODULES = ("core_attn", "mlp")  # norms are part of Transformer Engine's products


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The architecture, which Hugging Face's config.json gives, and how it is computed."""

    hf_config: str | None = key(
        "a Hugging Face model directory, or its config.json, that gives the architecture; null takes init_from's",
        None,
        reads=True,
    )
    backend: Backend = key("modules of a layer; auto takes Transformer Engine where it runs", Backend.auto)
    precision: Precision = key("type of weights and activations", Precision.bf16)
    fp8: Fp8Config = key("FP8, under precision=fp8 or fp8_emulated", Fp8Config)
    cross_entropy_fusion_impl: CrossEntropyFusion = key(
        "kernels of the loss: auto, plain, native (fused, CUDA) or te (Transformer Engine, the least memory; before "
        "its 2.18 it rounds the gradient of tokens that the model is sure of: not for fine-tuning); not yet measured",
        CrossEntropyFusion.auto,
        formerly="cross_entropy",
    )
    cuda_graph_impl: CudaGraphs = key(
        "local launches every layer as one CUDA graph: for small models, on rows that are not packed (not yet "
        "measured)",
        CudaGraphs.none,
        formerly="cuda_graphs",
    )
    recompute: Recompute = key("activations computed again in the backward pass", Recompute.none, decides=False)
    recompute_modules: list[str] = key("what recompute=selective covers: core_attn, mlp", ["mlp"], decides=False)
    recompute_num_layers: int | None = key(
        "layers of each model chunk that recompute=full covers; null covers all", None, decides=False, at_least=1
    )

    def tokens_multiple(self, sequence_parallel: bool) -> int:
        """What the tokens of a micro-batch on a rank must be a multiple of.

        FP8's products take them by 16, mxfp8's by 32 (assert_dim_for_fp8_exec in transformer_engine/pytorch/utils.py,
        2.11). Under sequence parallelism blocks are quantised before ranks exchange them, by 128: is_quantizable of
        Float8BlockQuantizer in transformer_engine/pytorch/tensor/float8_blockwise_tensor.py.
        """
        if self.precision is not Precision.fp8:
            return 1
        blocks = 128 if sequence_parallel else 16
        return {Fp8Recipe.blockwise: blocks, Fp8Recipe.mxfp8: 32}.get(self.fp8.recipe, 16)

    def __post_init__(self) -> None:
        self._check_fp8()
        if self.recompute is Recompute.selective and not self.recompute_modules:
            raise UserError("recompute_modules: the list is empty; name a module or set recompute=none")
        for name in self.recompute_modules:
            if name not in RECOMPUTE_MODULES:
                raise UserError(f"recompute_modules: '{name}' is not one of {', '.join(RECOMPUTE_MODULES)}")
        if self.recompute_num_layers is not None and self.recompute is not Recompute.full:
            raise UserError("recompute_num_layers: counts for recompute=full only; leave it null")

    def _check_fp8(self) -> None:
        if not self.precision.is_fp8 and self.fp8 != Fp8Config():
            raise UserError("fp8: counts under precision=fp8 or fp8_emulated only; set it, or leave fp8 out")
        if self.precision is Precision.fp8 and self.backend is Backend.torch:
            raise UserError("precision: fp8 needs backend=transformer_engine; the torch backend has fp8_emulated")
        if self.precision is Precision.fp8_emulated:
            if self.backend is Backend.transformer_engine:
                raise UserError("precision: fp8_emulated needs backend=torch; Transformer Engine has fp8 itself")
            if self.fp8.recipe is Fp8Recipe.mxfp8:
                raise UserError("fp8.recipe: mxfp8 is not emulated; take delayed, tensorwise or blockwise")
            if self.fp8.fp8_param_gather:
                raise UserError("fp8.fp8_param_gather: needs precision=fp8; leave it false")
