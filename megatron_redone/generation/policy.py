"""The policy of `redone build-preferences`: answers drawn from a Hugging Face directory, and likelihoods under it."""

import hashlib
import importlib.util
import itertools
import json
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from megatron_redone.config.build_preferences import Engine, Likelihood, PolicyConfig, SamplingConfig
from megatron_redone.curation.pair_building.answer_cache import AnswerCache
from megatron_redone.curation.pair_building.labelled_records import Messages
from megatron_redone.curation.pair_building.policy_mistakes import Answers
from megatron_redone.errors import UserError
from megatron_redone.formats.hf_folder import HF_FILES, find_hf_folder

log = logging.getLogger(__name__)

_TELL_EVERY_S = 30
_WEIGHTS = ("*.safetensors", "*.bin")


_KeyedAnswer = tuple[str, tuple[list[int], list[int]]]
"""The key of an answer in the cache; the tokens of its prompt and its own."""


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


class EngineShelf:
    """Keeps the model that was used last, for entries that use the same one after the other."""

    def __init__(self) -> None:
        self._key: Any = None
        self._engine: PolicyEngine | None = None

    def take(self, folder: Path, config: PolicyConfig, tokenizer: Any) -> PolicyEngine:
        """The engine for a model; loads it, after letting go of another.

        Raises:
            UserError: the model cannot be loaded.
        """
        key = (folder, config.engine, config.precision, config.device, config.batch_size, config.max_tokens)
        if self._engine is None or self._key != key:
            self._engine = None
            self._engine, self._key = _load_engine(folder, config, tokenizer), key
        return self._engine


class Policy:
    """Draws and weighs answers. What is in the cache is not computed again, and no model is loaded for it."""

    def __init__(self, config: PolicyConfig, likelihood: Likelihood, cache: AnswerCache, shelf: EngineShelf) -> None:
        """Loads the tokenizer.

        Args:
            config: Which model, and how it is computed.
            likelihood: What `log_probs` gives: sums over tokens, or means.
            cache: What earlier runs computed.
            shelf: Where the model is taken from once it is needed.

        Raises:
            UserError: transformers is missing, or the directory has no tokenizer with a chat template.
        """
        self._config = config
        self._likelihood = likelihood
        self._cache = cache
        self._fingerprint = fingerprint(config)
        self._folder = find_hf_folder(config.path)
        self._tokenizer = _load_tokenizer(self._folder, config)
        self._shelf = shelf

    def sample(self, prompts: Sequence[Messages], sampling: SamplingConfig) -> list[list[str] | None]:
        """Answers to every prompt; None where the prompt leaves no room for one.

        The draw depends on the seed and on all prompts and their order, not on interruptions.
        """
        ids = [self._prompt_ids(messages) for messages in prompts]
        short = [i for i, prompt in enumerate(ids) if len(prompt) + sampling.max_new_tokens <= self._config.max_tokens]
        settings = [sampling.samples, sampling.temperature, sampling.top_p, sampling.max_new_tokens, sampling.seed]
        keys = {i: self._key("sample", [settings, order, ids[i]]) for order, i in enumerate(short)}
        if any(self._cache.get(key) is None for key in keys.values()):
            self._draw(ids, short, keys, sampling)
        return [self._cache.get(keys[i]) if i in keys else None for i in range(len(ids))]

    def log_probs(self, answers: Answers) -> list[float | None]:
        """Log-probability of every answer, its end included; None where prompt and answer are too long."""
        ids = [self._answer_ids(messages, text) for messages, text in answers]
        keys = [self._key("log_prob", pair) for pair in ids]
        room = self._config.max_tokens
        missing = {
            key: (prompt, answer)
            for key, (prompt, answer) in zip(keys, ids, strict=True)
            if len(prompt) + len(answer) <= room and self._cache.get(key) is None
        }
        self._weigh(list(missing.items()))
        sums = [self._cache.get(key) for key in keys]
        if self._likelihood is Likelihood.sum:
            return sums
        return [None if total is None else total / len(answer) for total, (_, answer) in zip(sums, ids, strict=True)]

    def _draw(
        self, ids: Sequence[list[int]], short: Sequence[int], keys: dict[int, str], sampling: SamplingConfig
    ) -> None:
        engine = self._engine()
        at_once = engine.prompts_at_once
        progress = _Progress("answers to %s of %s prompts", len(short))
        for start in range(0, len(short), at_once):
            batch = short[start : start + at_once]
            if all(self._cache.get(keys[i]) is not None for i in batch):
                continue
            drawn = engine.sample([ids[i] for i in batch], sampling, sampling.seed + start)
            for i, answers in zip(batch, drawn, strict=True):
                texts = [self._tokenizer.decode(answer, skip_special_tokens=True).strip() for answer in answers]
                self._cache.put(keys[i], texts)
            progress.tell(start + len(batch))

    def _weigh(self, missing: Sequence[_KeyedAnswer]) -> None:
        if not missing:
            return
        engine = self._engine()
        progress = _Progress("likelihoods of %s of %s answers", len(missing))
        done = 0
        for batch in _batches(missing, engine.answers_at_once):
            for (key, _), total in zip(batch, engine.log_probs([pair for _, pair in batch]), strict=True):
                self._cache.put(key, total)
            progress.tell(done := done + len(batch))

    def _engine(self) -> PolicyEngine:
        return self._shelf.take(self._folder, self._config, self._tokenizer)

    def _prompt_text(self, messages: Messages) -> str:
        return self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)

    def _prompt_ids(self, messages: Messages) -> list[int]:
        return self._encode(self._prompt_text(messages))

    def _answer_ids(self, messages: Messages, text: str) -> tuple[list[int], list[int]]:
        """The prompt, and the answer with what the template ends a turn with."""
        prompt = self._prompt_text(messages)
        turns = [*messages, {"role": "assistant", "content": text}]
        whole = self._tokenizer.apply_chat_template(turns, tokenize=False).rstrip()
        # Some templates write an answer otherwise than a prompt announces it: with empty reasoning, for example.
        answer = whole[len(prompt) :] if whole.startswith(prompt) else text + (self._tokenizer.eos_token or "")
        return self._encode(prompt), self._encode(answer)

    def _encode(self, text: str) -> list[int]:
        return self._tokenizer(text, add_special_tokens=False)["input_ids"]

    def _key(self, kind: str, content: Any) -> str:
        precision = self._config.precision.name
        whole = [self._fingerprint, precision, kind, content]
        return hashlib.sha256(json.dumps(whole).encode()).hexdigest()


def _batches(answers: Sequence[_KeyedAnswer], size: int) -> Iterator[list[_KeyedAnswer]]:
    """About `size` answers at a time, or more: those to one prompt stay together."""
    batch: list[_KeyedAnswer] = []
    for _, group in itertools.groupby(answers, key=lambda answer: answer[1][0]):
        batch += group
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch


class _Progress:
    """Tells how far something has gone, at the end and now and then before."""

    def __init__(self, text: str, total: int) -> None:
        self._text = text
        self._total = total
        self._told = time.monotonic()

    def tell(self, done: int) -> None:
        if done == self._total or time.monotonic() - self._told > _TELL_EVERY_S:
            log.info(self._text, f"{done:,}", f"{self._total:,}")
            self._told = time.monotonic()


def fingerprint(config: PolicyConfig) -> str:
    """Sixteen hexadecimal digits that change when the model's files do.

    Configuration, tokenizer and template count by their content, weights by name, size and time of change.

    Raises:
        UserError: there is no such directory, or no weights in it.
    """
    folder = find_hf_folder(config.path)
    weights = sorted(path for pattern in _WEIGHTS for path in folder.glob(pattern))
    if not weights:
        raise UserError(f"{folder}: no weights there (*.safetensors); export a checkpoint with `redone export-hf`")
    digest = hashlib.sha256(_template(config).encode())
    for name in HF_FILES:
        if (folder / name).is_file():
            digest.update(name.encode() + (folder / name).read_bytes())
    for path in weights:
        stat = path.stat()
        digest.update(f"{path.name} {stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def _template(config: PolicyConfig) -> str:
    if config.chat_template is None:
        return ""
    try:
        return Path(config.chat_template).read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"policy.chat_template: {config.chat_template} cannot be read ({error.strerror})") from None


def _load_tokenizer(folder: Path, config: PolicyConfig) -> Any:
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise UserError("policy: needs transformers: `pip install transformers`") from None
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"policy.path: transformers cannot load the tokenizer of {folder} ({reason})") from None
    if template := _template(config):
        tokenizer.chat_template = template
    if not tokenizer.chat_template:
        raise UserError(f"policy.path: {folder} has no chat template; give policy.chat_template")
    return tokenizer


def _load_engine(folder: Path, config: PolicyConfig, tokenizer: Any) -> PolicyEngine:
    has_vllm = importlib.util.find_spec("vllm") is not None
    if config.engine is Engine.vllm and not has_vllm:
        raise UserError("policy.engine: vllm is not installed: `pip install vllm`, or set engine=transformers")
    if config.engine is Engine.vllm or (config.engine is Engine.auto and has_vllm and torch.cuda.is_available()):
        from megatron_redone.generation.vllm_engine import VllmEngine

        return VllmEngine(folder, config)
    from megatron_redone.generation.transformers_engine import TransformersEngine

    return TransformersEngine(folder, config, tokenizer)
