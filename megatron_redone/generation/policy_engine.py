"""What computes a policy's answers and likelihoods, and the one that is kept in memory."""

import importlib.util
from collections.abc import Sequence
from typing import Any, Protocol

import torch

from megatron_redone.config.build_preferences import Engine, PolicyConfig, SamplingConfig
from megatron_redone.errors import UserError


class PolicyEngine(Protocol):
    """A model that is loaded and ready to compute.

    Attributes:
        prompts_at_once: How many prompts `sample` does best together; what is done is kept after so many.
        answers_at_once: The same for `log_probs`.
    """

    prompts_at_once: int
    answers_at_once: int

    def sample(self, prompts: Sequence[list[int]], sampling: SamplingConfig, seed: int) -> list[list[list[int]]]:
        """For every prompt the tokens of its answers, without the prompt."""
        ...

    def log_probs(self, answers: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        """For every prompt and answer the sum of the log-probabilities of the answer's tokens, in nats."""
        ...


class EngineCache:
    """Keeps the model that was used last, for entries that use the same one after the other."""

    def __init__(self) -> None:
        self._key: Any = None
        self._engine: PolicyEngine | None = None

    def get(self, config: PolicyConfig) -> PolicyEngine:
        """The engine for a model; loads it, after letting go of another.

        Raises:
            UserError: the model cannot be loaded.
        """
        key = (config.path, config.engine, config.precision, config.device, config.batch_size, config.max_tokens)
        if self._engine is None or self._key != key:
            self._engine = None
            self._engine, self._key = load_engine(config), key
        return self._engine


def load_engine(config: PolicyConfig) -> PolicyEngine:
    """vLLM or transformers, as the configuration and the machine have it.

    Raises:
        UserError: vLLM was asked for and is not there, or transformers cannot load the model.
    """
    has_vllm = importlib.util.find_spec("vllm") is not None
    if config.engine is Engine.vllm and not has_vllm:
        raise UserError("policy.engine: vllm is not installed: `pip install vllm`, or set engine=transformers")
    if config.engine is Engine.vllm or (config.engine is Engine.auto and has_vllm and torch.cuda.is_available()):
        from megatron_redone.generation.vllm_engine import VllmEngine

        return VllmEngine(config)
    from megatron_redone.generation.transformers_engine import TransformersEngine

    return TransformersEngine(config)
