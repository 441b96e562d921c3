"""Parameters and floating-point operations of a decoder, counted from its architecture.

Operations follow the PaLM report (Chowdhery et al., 2022, appendix B): a multiply-add is two, the
backward pass takes twice the forward pass, recomputed activations do not count, and of the rest only
matrix products do. Attention is counted over the keys that a causal mask leaves, half of the sequence on
average; PaLM and Megatron-LM count all of them, which flatters a long sequence. With isolated documents
attention does less than is counted here.
"""

from math import prod

from megatron_redone.architectures import Architecture
from megatron_redone.architectures.weights import full_weights


def parameter_count(architecture: Architecture) -> int:
    """The model's parameters; tied embeddings count once."""
    return sum(prod(weight.shape) for weight in full_weights(architecture).values())


def forward_flops_per_token(architecture: Architecture, seq_length: int, causal: bool = True) -> float:
    """Operations of one forward pass, divided by its tokens.

    2 x (matrices of all layers + output matrix) + 4 x layers x query width x keys seen, with
    keys seen = seq_length / 2 under a causal mask. Looking up an embedding costs nothing.
    """
    keys_seen = seq_length / 2 if causal else seq_length
    attention = architecture.num_hidden_layers * architecture.attention_size * keys_seen
    return 2 * _matrix_entries(architecture) + 4 * attention


def training_flops_per_token(architecture: Architecture, seq_length: int, causal: bool = True) -> float:
    """Operations of a forward and a backward pass, divided by its tokens: three forward passes' worth."""
    return 3 * forward_flops_per_token(architecture, seq_length, causal)


def _matrix_entries(architecture: Architecture) -> int:
    """Entries of all matrices that a token is multiplied with: those of the layers, and the output matrix."""
    layers = [w for key, w in full_weights(architecture).items() if key.startswith("decoder.layers.") and w.columns]
    return sum(prod(weight.shape) for weight in layers) + architecture.vocab_size * architecture.hidden_size
