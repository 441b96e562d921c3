"""The error for a model that says clearly what it is, but is not computed by this project."""

from megatron_redone.errors import UserError


class UnsupportedModelError(UserError):
    """transformers computes such a model, and it can be evaluated; it cannot be trained or converted here."""
