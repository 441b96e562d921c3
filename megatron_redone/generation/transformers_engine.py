"""Draws and weighs answers with transformers, on a CPU or a GPU.

B is the number of rows of a batch, L their length, A the tokens of the longest answer, V the vocabulary.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from megatron_redone.config.build_preferences import PolicyConfig, SamplingConfig
from megatron_redone.config.model import Precision
from megatron_redone.config.parallel import Device
from megatron_redone.errors import UserError

_DTYPES = {Precision.fp32: torch.float32, Precision.bf16: torch.bfloat16}


class TransformersEngine:
    """A model that transformers computes; see `PolicyEngine`."""

    def __init__(self, folder: Path, config: PolicyConfig, tokenizer: Any) -> None:
        """Loads the weights; code that comes with a model is never run.

        Raises:
            UserError: transformers cannot load the directory, or there is no CUDA device where one was asked for.
        """
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging as their_logging

        their_logging.disable_progress_bar()
        self._device = _device(config.device)
        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            model: Any = AutoModelForCausalLM.from_pretrained(str(folder), dtype=_DTYPES[config.precision], **options)
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"policy.path: transformers cannot load {folder} ({reason})") from None
        self._model: Any = model.eval().to(self._device)
        self._padding = next(n for n in (tokenizer.pad_token_id, tokenizer.eos_token_id, 0) if n is not None)
        self._ends = _end_ids(model, tokenizer)
        self._rows = config.batch_size
        self.answers_at_once = config.batch_size
        self.prompts_at_once = config.batch_size

    @torch.inference_mode()
    def sample(self, prompts: Sequence[list[int]], sampling: SamplingConfig, seed: int) -> list[list[list[int]]]:
        """See `PolicyEngine`; the same prompts and seed give the same answers on the same kind of machine."""
        torch.manual_seed(seed)
        answers: list[list[list[int]]] = []
        at_once = max(1, self._rows // sampling.samples)
        for start in range(0, len(prompts), at_once):
            batch = prompts[start : start + at_once]
            tokens, mask = self._pad(batch)
            output = self._model.generate(tokens, attention_mask=mask, generation_config=self._generation(sampling))
            rows = output[:, tokens.shape[1] :].tolist()
            answers += [rows[i : i + sampling.samples] for i in range(0, len(rows), sampling.samples)]
        return [[self._until_end(row) for row in rows] for rows in answers]

    @torch.inference_mode()
    def log_probs(self, answers: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        """See `PolicyEngine`. A prompt that stands before several answers, one after the other, is computed once."""
        sums: list[float] = []
        for prompt, group in itertools.groupby(answers, key=lambda pair: pair[0]):
            same_prompt = [answer for _, answer in group]
            for start in range(0, len(same_prompt), self._rows):
                sums += self._log_probs(prompt, same_prompt[start : start + self._rows])
        return sums

    def _log_probs(self, prompt: list[int], answers: list[list[int]]) -> list[float]:
        past = self._read(prompt[:-1], len(answers))
        # What stands before a token says how likely it is. Padding behind an answer is seen by nothing that counts.
        longest = max(len(answer) for answer in answers)
        rows = [[prompt[-1], *answer[:-1]] + [self._padding] * (longest - len(answer)) for answer in answers]
        tokens = torch.tensor(rows, device=self._device)
        logits = self._model(tokens, past_key_values=past, use_cache=past is not None).logits  # [B, A, V]
        return [_sum(logits[row, : len(answer)], answer) for row, answer in enumerate(answers)]

    def _read(self, prompt: list[int], copies: int) -> Any:
        """The state of the model after a prompt, for as many continuations; None after nothing."""
        if not prompt:
            return None
        tokens = torch.tensor([prompt], device=self._device)
        state = self._model(tokens, use_cache=True, logits_to_keep=1).past_key_values
        state.batch_repeat_interleave(copies)
        return state

    def _pad(self, rows: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens and mask, int64 [B, L], padded in front: all rows end in the last column."""
        length = max(len(row) for row in rows)
        tokens = [[self._padding] * (length - len(row)) + row for row in rows]
        mask = [[0] * (length - len(row)) + [1] * len(row) for row in rows]
        return torch.tensor(tokens, device=self._device), torch.tensor(mask, device=self._device)

    def _generation(self, sampling: SamplingConfig) -> Any:
        """Only what the configuration says: a directory's own temperature or penalties would change the draw."""
        from transformers import GenerationConfig

        drawn: dict[str, Any] = {"do_sample": False}
        if sampling.temperature > 0:
            drawn = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        return GenerationConfig(
            max_new_tokens=sampling.max_new_tokens,
            num_return_sequences=sampling.samples,
            eos_token_id=self._ends,
            pad_token_id=self._padding,
            **drawn,
        )

    def _until_end(self, row: list[int]) -> list[int]:
        ends = [i for i, token in enumerate(row) if token in self._ends]
        return row[: ends[0]] if ends else row


def _sum(logits: torch.Tensor, answer: list[int]) -> float:
    """The log-probability of an answer, of logits [A, V]."""
    expected = torch.tensor(answer, device=logits.device)[:, None]
    return logits.float().log_softmax(dim=-1).gather(1, expected).double().sum().item()


def _end_ids(model: Any, tokenizer: Any) -> list[int]:
    """The tokens that end an answer: the model's own, and the tokenizer's."""
    own = model.generation_config.eos_token_id
    ids = own if isinstance(own, list) else [own]
    return sorted({number for number in [*ids, tokenizer.eos_token_id] if number is not None})


def _device(device: Device) -> torch.device:
    has_cuda = torch.cuda.is_available()
    if device is Device.cuda and not has_cuda:
        raise UserError("policy.device: cuda was asked for, but torch finds no CUDA device; set device=cpu or auto")
    return torch.device("cuda" if has_cuda and device is not Device.cpu else "cpu")
