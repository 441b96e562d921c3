"""A policy that vLLM computes, where it is installed."""

from collections.abc import Sequence
from typing import Any

from megatron_redone.config.build_preferences import PolicyConfig, SamplingConfig
from megatron_redone.config.model import Precision
from megatron_redone.formats.hf_folder import find_hf_folder

_DTYPES = {Precision.fp32: "float32", Precision.bf16: "bfloat16"}
# vLLM batches by itself; this is how much is lost when a run is killed.
_AT_ONCE = 256


class VllmEngine:
    """See `PolicyEngine`."""

    def __init__(self, config: PolicyConfig) -> None:
        """Starts vLLM.

        Raises:
            UserError: there is no such directory.
        """
        from vllm import LLM  # pyright: ignore[reportMissingImports]

        # One token more: likelihoods are had by way of prompts, and a prompt must leave room for an answer.
        folder = str(find_hf_folder(config.path))
        self._llm: Any = LLM(folder, dtype=_DTYPES[config.precision], max_model_len=config.max_tokens + 1)
        self.prompts_at_once = self.answers_at_once = _AT_ONCE

    def sample(self, prompts: Sequence[list[int]], sampling: SamplingConfig, seed: int) -> list[list[list[int]]]:
        """See `PolicyEngine`."""
        from vllm import SamplingParams  # pyright: ignore[reportMissingImports]

        wanted = SamplingParams(
            n=sampling.samples,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_new_tokens,
            seed=seed,
            detokenize=False,
        )
        return [[list(answer.token_ids) for answer in done.outputs] for done in self._generate(prompts, wanted)]

    def log_probs(self, answers: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        """See `PolicyEngine`."""
        from vllm import SamplingParams  # pyright: ignore[reportMissingImports]

        wanted = SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0, detokenize=False)
        done = self._generate([prompt + answer for prompt, answer in answers], wanted)
        return [_sum(one.prompt_logprobs, answer) for one, (_, answer) in zip(done, answers, strict=True)]

    def _generate(self, prompts: Sequence[list[int]], wanted: Any) -> Any:
        requests = [{"prompt_token_ids": prompt} for prompt in prompts]
        return self._llm.generate(requests, wanted, use_tqdm=False)


def _sum(prompt: Any, answer: list[int]) -> float:
    """Of the answer's tokens, which are the prompt's last."""
    return sum(position[token].logprob for position, token in zip(prompt[-len(answer) :], answer, strict=True))
