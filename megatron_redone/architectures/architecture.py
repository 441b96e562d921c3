"""What is known of a model before its weights are read."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class RotaryConfig:
    """Frequencies of the rotary position embedding.

    Attributes:
        head_dim: Size of a head; all of it is rotated.
        theta: The base of the frequencies.
        kind: `default`, `linear`, `llama3` or `yarn`.
        scaling: The numbers that the kind needs, under transformers' names; those that a file leaves out filled in.
    """

    head_dim: int
    theta: float
    kind: str = "default"
    scaling: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The shape of a model, under Hugging Face's names where they exist.

    Attributes:
        qkv_bias: Biases on query, key and value.
        qk_norm: A norm on each head's query and key.
        sliding_window: How many tokens attention looks back; None where it sees all.
    """

    model_type: str
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    rms_norm_eps: float
    initializer_range: float
    tie_word_embeddings: bool
    qkv_bias: bool
    qk_norm: bool
    sliding_window: int | None
    rotary: RotaryConfig

    @property
    def known_positions(self) -> int:
        """Positions that the model was made for; yarn may be told in config.json without raising the length there."""
        trained = self.rotary.scaling.get("original_max_position_embeddings")
        scaled = 0 if trained is None else int(trained * self.rotary.scaling["factor"])
        return max(self.max_position_embeddings, scaled)

    @property
    def attention_size(self) -> int:
        """Width of all query heads together."""
        return self.num_attention_heads * self.head_dim
