"""A policy that transformers computes, on a CPU or a GPU."""

from collections.abc import Sequence

import torch

from megatron_redone.config.build_preferences import PolicyConfig, SamplingConfig
from megatron_redone.config.model import Precision
from megatron_redone.generation.hf_model import load_model
from megatron_redone.generation.log_probabilities import BatchLimits, Row, log_probabilities
from megatron_redone.generation.placement import Placement, choose_device
from megatron_redone.generation.sampling import Drawing, draw_answers

_DTYPES = {Precision.fp32: torch.float32, Precision.bf16: torch.bfloat16}
# Batches for which likelihoods are asked for at once: enough that sequences of like length come together.
_BATCHES = 16


class TransformersEngine:
    """See `PolicyEngine`."""

    def __init__(self, config: PolicyConfig) -> None:
        """Loads the weights.

        Raises:
            UserError: transformers cannot load the directory, or there is no CUDA device where one was asked for.
        """
        place = Placement(device=choose_device(config.device), dtype=_DTYPES[config.precision])
        self._model = load_model(config.path, place)
        self._limits = BatchLimits(rows=config.batch_size, tokens=config.batch_size * config.max_tokens)
        self.prompts_at_once = config.batch_size
        self.answers_at_once = config.batch_size * _BATCHES

    def sample(self, prompts: Sequence[list[int]], sampling: SamplingConfig, seed: int) -> list[list[list[int]]]:
        """See `PolicyEngine`; the same prompts and seed give the same answers on the same kind of machine."""
        torch.manual_seed(seed)
        drawing = Drawing(
            max_new_tokens=sampling.max_new_tokens,
            answers=sampling.samples,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
        )
        answers: list[list[list[int]]] = []
        at_once = max(1, self._limits.rows // sampling.samples)
        for start in range(0, len(prompts), at_once):
            answers += draw_answers(self._model, prompts[start : start + at_once], drawing)
        return answers

    def log_probs(self, answers: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        """See `PolicyEngine`."""
        rows = [Row(prompt + answer, len(prompt)) for prompt, answer in answers]
        return log_probabilities(self._model, rows, self._limits).tolist()
