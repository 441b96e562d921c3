"""Which model, and how it is computed."""

import enum
from dataclasses import dataclass

from megatron_redone.config.field import key
from megatron_redone.errors import UserError


class Backend(enum.Enum):
    """Whose modules a layer is made of."""

    auto = "auto"
    torch = "torch"
    transformer_engine = "transformer_engine"


class Precision(enum.Enum):
    """The type of weights and activations; gradients, main weights and optimizer state are fp32 either way."""

    fp32 = "fp32"
    bf16 = "bf16"


class Recompute(enum.Enum):
    """Which activations are computed again in the backward pass instead of being kept."""

    none = "none"
    selective = "selective"
    full = "full"


RECOMPUTE_MODULES = ("core_attn", "mlp", "layernorm")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The architecture, which Hugging Face's config.json gives, and how it is computed."""

    hf_config: str | None = key(
        "a Hugging Face model directory, or its config.json, that gives the architecture; null takes init_from's", None
    )
    backend: Backend = key("modules of a layer; auto takes Transformer Engine where it runs", Backend.auto)
    precision: Precision = key("type of weights and activations", Precision.bf16)
    recompute: Recompute = key("activations computed again in the backward pass", Recompute.none)
    recompute_modules: list[str] = key("what recompute=selective covers: core_attn, mlp, layernorm", ["mlp"])
    recompute_num_layers: int | None = key(
        "layers of each pipeline piece that recompute=full covers; null covers all", None
    )

    def __post_init__(self) -> None:
        if self.recompute is Recompute.selective and not self.recompute_modules:
            raise UserError("recompute_modules: the list is empty; name a module or set recompute=none")
        for name in self.recompute_modules:
            if name not in RECOMPUTE_MODULES:
                raise UserError(f"recompute_modules: '{name}' is not one of {', '.join(RECOMPUTE_MODULES)}")
        if self.recompute_num_layers is not None and self.recompute is not Recompute.full:
            raise UserError("recompute_num_layers: counts for recompute=full only; leave it null")
        if self.recompute_num_layers is not None and self.recompute_num_layers < 1:
            raise UserError(f"recompute_num_layers: {self.recompute_num_layers} is less than one layer")
