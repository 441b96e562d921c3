"""The policy of `redone build-preferences`: its own answers to prompts, and how likely it finds any answer."""

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from megatron_redone.config.build_preferences import Likelihood, PolicyConfig, SamplingConfig
from megatron_redone.curation.pair_building.answer_cache import AnswerCache
from megatron_redone.curation.pair_building.labelled_records import Messages
from megatron_redone.curation.pair_building.policy_mistakes import Answers
from megatron_redone.formats.hf_folder import find_hf_folder
from megatron_redone.generation.chat_prompts import answer_ids, prompt_ids
from megatron_redone.generation.model_files import load_tokenizer, model_fingerprint
from megatron_redone.generation.policy_engine import EngineCache
from megatron_redone.processes.live_progress import LiveProgress

log = logging.getLogger(__name__)

_Ids = list[int]


class Policy:
    """Samples and scores answers. What is in the cache is not computed again, and no model is loaded for it."""

    def __init__(self, config: PolicyConfig, likelihood: Likelihood, cache: AnswerCache, engines: EngineCache) -> None:
        """Loads the tokenizer.

        Args:
            config: Which model, and how it is computed.
            likelihood: What `log_probs` gives: sums over tokens, or means.
            cache: What earlier runs computed.
            engines: Where the model is taken from once it is needed.

        Raises:
            UserError: transformers is missing, or the directory has no weights or no tokenizer.
        """
        self._config = config
        self._likelihood = likelihood
        self._cache = cache
        self._engines = engines
        self._fingerprint = model_fingerprint(config.path, config.chat_template)
        self._tokenizer = load_tokenizer(find_hf_folder(config.path), config.chat_template)

    def sample(self, prompts: Sequence[Messages], sampling: SamplingConfig) -> list[list[str] | None]:
        """Answers to every prompt; None where the prompt leaves no room for one.

        The draw depends on the seed and on all prompts and their order, not on interruptions.

        Raises:
            UserError: there is no chat template, or the model cannot be loaded.
        """
        room = self._config.max_tokens - sampling.max_new_tokens
        ids = [prompt_ids(self._tokenizer, messages) for messages in prompts]
        short = [prompt for prompt in ids if len(prompt) <= room]
        settings = [sampling.samples, sampling.temperature, sampling.top_p, sampling.max_new_tokens, sampling.seed]
        keys = [self._key("sample", [settings, number, prompt]) for number, prompt in enumerate(short)]
        self._sample_missing(short, keys, sampling)
        drawn = iter(keys)
        return [self._cache.get(next(drawn)) if len(prompt) <= room else None for prompt in ids]

    def log_probs(self, answers: Answers) -> list[float | None]:
        """Log-probability of every answer, its end included; None where prompt and answer are too long.

        Raises:
            UserError: see `sample`.
        """
        ids = [answer_ids(self._tokenizer, messages, text) for messages, text in answers]
        keys = [self._key("log_prob", both) for both in ids]
        missing = {
            key: (prompt, answer)
            for key, (prompt, answer) in zip(keys, ids, strict=True)
            if len(prompt) + len(answer) <= self._config.max_tokens and self._cache.get(key) is None
        }
        self._score_missing(missing)
        sums = [self._cache.get(key) for key in keys]
        if self._likelihood is Likelihood.sum:
            return sums
        return [None if total is None else total / len(answer) for total, (_, answer) in zip(sums, ids, strict=True)]

    def _sample_missing(self, prompts: Sequence[_Ids], keys: Sequence[str], sampling: SamplingConfig) -> None:
        """Batches are the same whatever is missing, and each has a seed of its own: so a draw repeats itself."""
        if all(self._cache.get(key) is not None for key in keys):
            return
        engine = self._engines.get(self._config)
        with _progress("answers to prompts", len(prompts)) as done:
            for start in range(0, len(prompts), at_once := engine.prompts_at_once):
                batch = slice(start, start + at_once)
                if any(self._cache.get(key) is None for key in keys[batch]):
                    drawn = engine.sample(prompts[batch], sampling, sampling.seed + start)
                    for key, answers in zip(keys[batch], drawn, strict=True):
                        self._cache.put(key, [self._decode(answer) for answer in answers])
                done[0] += len(keys[batch])

    def _score_missing(self, missing: dict[str, tuple[_Ids, _Ids]]) -> None:
        if not missing:
            return
        engine = self._engines.get(self._config)
        entries = list(missing.items())
        with _progress("likelihoods of answers", len(entries)) as done:
            for start in range(0, len(entries), at_once := engine.answers_at_once):
                batch = entries[start : start + at_once]
                for (key, _), total in zip(batch, engine.log_probs([both for _, both in batch]), strict=True):
                    self._cache.put(key, total)
                done[0] += len(batch)

    def _decode(self, answer: _Ids) -> str:
        return self._tokenizer.decode(answer, skip_special_tokens=True).strip()

    def _key(self, kind: str, content: Any) -> str:
        whole = [self._fingerprint, self._config.precision.name, kind, content]
        return hashlib.sha256(json.dumps(whole).encode()).hexdigest()


@contextmanager
def _progress(title: str, total: int) -> Iterator[list[int]]:
    """Shows how many are done while the work counts them; logs it at the end."""
    done = [0]
    with LiveProgress(total, lambda: (done[0], f"{done[0]:,} of {total:,}"), title):
        yield done
    log.info("%s: %s of %s", title, f"{done[0]:,}", f"{total:,}")
