"""A loaded model as an `LM` of lm-evaluation-harness: whatever task the harness runs, it can ask one of ours.

Texts become ids as the harness's own class for transformers makes them, so that the two agree; rows are computed in
batches of like length, what many of them share once, and every response is told as soon as it is known, so that a
run that was killed goes on.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from megatron_redone.errors import UserError
from megatron_redone.evaluation.thinking import Thinking, answers_behind_thoughts, without_thoughts
from megatron_redone.generation.chat_prompts import render
from megatron_redone.generation.hf_model import LoadedModel
from megatron_redone.generation.log_probabilities import Advance, BatchLimits, Row, no_progress, score_rows
from megatron_redone.generation.sampling import greedy_answers

log = logging.getLogger(__name__)


class Responses(Protocol):
    """Where responses are kept as they come."""

    def find(self, kind: str, arguments: Sequence[Any]) -> Any:
        """The response to a request, or None."""
        ...

    def add(self, kind: str, arguments: Sequence[Any], response: Any) -> None:
        """Keeps one."""
        ...


class NotKept:
    """Keeps nothing."""

    def find(self, kind: str, arguments: Sequence[Any]) -> Any:
        """None."""

    def add(self, kind: str, arguments: Sequence[Any], response: Any) -> None:
        """Does nothing."""


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How a model is asked.

    Attributes:
        limits: Of a batch.
        max_tokens: Of a prompt and its answer; longer prompts lose their beginning.
        thinking: What becomes of a model's thoughts.
        max_new_tokens: Of an answer; None takes the task's.
    """

    limits: BatchLimits
    max_tokens: int
    thinking: Thinking
    max_new_tokens: int | None = None


class HarnessModel(TemplateLM):
    """See the head of this file."""

    def __init__(
        self,
        model: LoadedModel,
        asking: Asking,
        advance: Advance = no_progress,
        responses: Responses | None = None,
    ) -> None:
        """Takes a model that is loaded.

        Args:
            model: It.
            asking: How it is asked.
            advance: Called after each batch.
            responses: Where they are kept; what is there is not asked again.
        """
        super().__init__()
        self.tokenizer = model.tokenizer
        self.shortened: set[str] = set()
        self._model, self._asking = model, asking
        self._advance, self._responses = advance, NotKept() if responses is None else responses
        self._limit = min(asking.max_tokens, model.limit)

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return self._model.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        """The token before a text that nothing precedes."""
        bos = self._model.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else bos

    @property
    def tokenizer_name(self) -> str:
        """What the harness calls it."""
        return self._model.tokenizer.name_or_path.replace("/", "__")

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A conversation as the text that the model is to go on with.

        Raises:
            UserError: the model has no chat template, or it does not take the messages.
        """
        return render(
            self._model.tokenizer,
            chat_history,
            thinks=self._asking.thinking.enabled,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Ids of a text; one that begins with the BOS token's text gets no second one."""
        tokenizer = self._model.tokenizer
        if add_special_tokens is None and string.startswith(tokenizer.decode([self.prefix_token_id])):
            add_special_tokens = False
        special = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return tokenizer.encode(string, **special)

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Of each continuation the natural logarithm of its probability, and whether it is the likeliest one."""
        ask = partial(super().loglikelihood, disable_tqdm=True)
        return [(value, bool(greedy)) for value, greedy in self._kept("loglikelihood", requests, ask)]

    def _kept(self, kind: str, requests: list[Instance], ask: Callable[[list[Instance]], list[Any]]) -> list[Any]:
        """What is kept from before, and for the rest what the model says."""
        found = [self._responses.find(kind, request.args) for request in requests]
        missing = [number for number, response in enumerate(found) if response is None]
        if missing and len(missing) < len(requests):
            log.info("%d of %d responses are kept from before", len(requests) - len(missing), len(requests))
        for number, response in zip(missing, ask([requests[i] for i in missing]) if missing else [], strict=True):
            found[number] = response
        return found

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], disable_tqdm: bool = False, **_: Any
    ) -> list[tuple[float, bool]]:
        rows = [self._row(*request) for request in requests]

        def done(batch: Sequence[int], found: Any) -> None:
            for number, value, greedy in zip(batch, found.sums.tolist(), found.is_greedy.tolist(), strict=True):
                self._responses.add("loglikelihood", requests[number][0], [value, greedy])

        scores = score_rows(self._model, rows, self._asking.limits, self._advance, done)
        return list(zip(scores.sums.tolist(), scores.is_greedy.tolist(), strict=True))

    def _row(self, texts: tuple[str, str], context: list[int], continuation: list[int]) -> Row:
        """The harness keeps the end of what is too long, and so do we; it leaves out a last token that is not read."""
        ids = (context + continuation)[-(self._limit + 1) :]
        if len(ids) < len(context) + len(continuation):
            self.shortened.add(texts[0])
        return Row(ids, max(1, len(ids) - len(continuation)))

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """The natural logarithm of the probability of whole texts, read in windows that do not overlap."""
        return self._kept("loglikelihood_rolling", requests, self._of_texts)

    def _of_texts(self, requests: list[Instance]) -> list[float]:
        rows, owners = [], []
        for number, request in enumerate(requests):
            windows = get_rolling_token_windows(
                self.tok_encode(request.args[0]), self.prefix_token_id, max_seq_len=self._limit, context_len=1
            )
            for context, continuation in map(make_disjoint_window, windows):
                rows.append(Row(context + continuation, len(context)))
                owners.append(number)
        sums = [0.0] * len(requests)
        found = score_rows(self._model, rows, self._asking.limits, self._advance).sums.tolist()
        for owner, value in zip(owners, found, strict=True):
            sums[owner] += value
        for request, value in zip(requests, sums, strict=True):
            self._responses.add("loglikelihood_rolling", request.args, value)
        return sums

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """The likeliest continuation of every prompt up to a stop, without a model's thoughts.

        Raises:
            UserError: a task asks for drawn answers.
        """
        return self._kept("generate_until", requests, self._of_prompts)

    def _of_prompts(self, requests: list[Instance]) -> list[str]:
        answers = [""] * len(requests)
        for settings, numbers in _by_settings(requests).items():
            prompts = [self.tok_encode(requests[number].args[0]) for number in numbers]
            room = max(1, self._limit - settings.new_tokens(self._asking))
            self.shortened |= {
                requests[i].args[0] for i, prompt in zip(numbers, prompts, strict=True) if len(prompt) > room
            }
            found = self._answers([prompt[-room:] for prompt in prompts], settings, [requests[i] for i in numbers])
            for number, answer in zip(numbers, found, strict=True):
                answers[number] = answer
        return answers

    def _answers(self, prompts: list[list[int]], settings: "_Settings", requests: Sequence[Instance]) -> list[str]:
        def done(batch: Sequence[int], texts: Sequence[str]) -> None:
            for number, text in zip(batch, texts, strict=True):
                self._responses.add("generate_until", requests[number].args, without_thoughts(text))

        limits, thinking = self._asking.limits, self._asking.thinking
        budget = settings.answer_tokens(self._asking)
        if thinking.enabled:
            answers = answers_behind_thoughts(
                self._model, prompts, thinking, budget, settings.stops, limits, self._advance, done
            )
        else:
            answers = greedy_answers(self._model, prompts, budget, limits, self._advance, settings.stops, done)
        return [without_thoughts(answer) for answer in answers]


@dataclass(frozen=True)
class _Settings:
    """Of an answer: texts that end it, and its tokens at most."""

    stops: tuple[str, ...]
    tokens: int

    def answer_tokens(self, asking: Asking) -> int:
        """Of the answer alone."""
        return asking.max_new_tokens or self.tokens

    def new_tokens(self, asking: Asking) -> int:
        """Of the thoughts too."""
        thoughts = asking.thinking.tokens if asking.thinking.enabled else 0
        return self.answer_tokens(asking) + thoughts


def _by_settings(requests: Sequence[Instance]) -> dict[_Settings, list[int]]:
    found: dict[_Settings, list[int]] = {}
    for number, request in enumerate(requests):
        arguments: tuple[Any, ...] = request.args
        options: dict[str, Any] = {**normalize_gen_kwargs(arguments[1])}
        if options.get("do_sample"):
            raise UserError(f"{request.task_name}: asks for drawn answers; set do_sample: false, benchmarks are greedy")
        until = options["until"]
        stops = (until,) if isinstance(until, str) else tuple(until)
        found.setdefault(_Settings(stops, int(options["max_gen_toks"])), []).append(number)
    return found
