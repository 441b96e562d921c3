"""The oracles are transformers' own parameter count and torch's operation counter, on the meta device."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM

from megatron_redone.architectures import parse_architecture
from megatron_redone.metrics.flops import forward_flops_per_token, parameter_count, training_flops_per_token

SIZES = {
    "num_hidden_layers": 3,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
}
VARIANTS = [
    {"model_type": "qwen2"},
    {"model_type": "qwen3", "head_dim": 16},
    {"model_type": "qwen3"},
    {"model_type": "llama"},
    {"model_type": "mistral"},
    {"model_type": "llama", "head_dim": 24},
]


def build(config: dict) -> torch.nn.Module:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), attn_implementation="eager")


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_parameters_are_those_that_transformers_builds(variant: dict, tied: bool) -> None:
    config = {**SIZES, **variant, "tie_word_embeddings": tied}
    model = build(config)
    expected = sum(parameter.numel() for parameter in model.parameters())
    assert parameter_count(parse_architecture(config)) == expected
    # The same from the config as transformers writes it, with every default spelt out.
    assert parameter_count(parse_architecture(model.config.to_dict())) == expected


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_operations_are_those_that_torch_counts(variant: dict) -> None:
    config = {**SIZES, **variant}
    model, length = build(config), 96
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(2, length, dtype=torch.long, device="meta"))
    shape = parse_architecture(config)
    # Eager attention computes the masked half too. The rotary angles (one product of positions and 16 to 64
    # frequencies) are counted by torch and not by us.
    counted = counter.get_total_flops() / (2 * length)
    ours = forward_flops_per_token(shape, length, causal=False)
    assert ours == pytest.approx(counted, rel=1e-3)
    assert ours <= counted


def test_published_sizes() -> None:
    qwen = {"model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28}
    qwen |= {"num_key_value_heads": 4, "num_hidden_layers": 28, "vocab_size": 152064}
    shape = parse_architecture(qwen)
    assert parameter_count(shape) == 7_615_616_512  # as the model card's safetensors index says
    # 6 per parameter that takes part in a product, and attention on top: 6 x layers x width x length when causal.
    products = parameter_count(shape) - 152064 * 3584
    attention = 6 * 28 * 3584 * 4096
    assert training_flops_per_token(shape, 4096) == pytest.approx(6 * products + attention, rel=1e-4)
