"""megatron_redone: from a base model and a mountain of posts to a domain's language model."""

__version__ = "0.2.0"
