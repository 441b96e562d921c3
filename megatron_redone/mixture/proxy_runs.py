"""The small runs of a search: which are there already, and training those that are not, several at a time."""

import dataclasses
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from megatron_redone.config.optimize_mixture import OptimizeMixtureConfig
from megatron_redone.config.schema import deciding_values
from megatron_redone.formats.lock import folder_lock
from megatron_redone.hashing import short_hash
from megatron_redone.metrics.progress import duration
from megatron_redone.mixture.proxy import Proxy, ProxyResult, ProxyTask, pretraining_of, read_result, train_proxy
from megatron_redone.mixture.search_data import SearchData
from megatron_redone.processes.fresh_processes import run_each
from megatron_redone.processes.live_progress import LiveProgress

log = logging.getLogger(__name__)

_PRELOAD = ["megatron_redone.mixture.preloaded"]


class ProxyRuns:
    """Small runs in OUTPUT/proxies, each in a folder that is called by everything that decides what it comes to.

    So a search that was killed, or whose penalty or number of proxies is changed, trains what is missing only.
    """

    def __init__(self, config: OptimizeMixtureConfig, data: SearchData) -> None:
        """Takes the search, and its opened datasets and first weights."""
        self._config, self._folder, self._initial = config, Path(config.output_dir) / "proxies", data.initial_folder
        self._settings = [deciding_values(config.proxy), data.facts]

    def folder(self, proxy: Proxy) -> Path:
        """Where a run lies."""
        weights = {name: weight for name, weight in proxy.weights.items() if weight > 0}
        return self._folder / short_hash([weights, proxy.seed, self._settings])

    def result(self, proxy: Proxy) -> ProxyResult | None:
        """What a run came to; None where it has not ended."""
        return read_result(self.folder(proxy))

    def train(self, proxies: Sequence[Proxy], what: str) -> None:
        """Trains those that are missing; of two alike, one. Of a job, its part of them.

        Raises:
            UserError: one cannot be trained.
        """
        own = list({self.folder(proxy): proxy for proxy in proxies}.values())
        if self._config.job is not None:
            own = own[self._config.job :: self._config.jobs]
        missing = [proxy for proxy in own if self.result(proxy) is None]
        if not missing:
            return
        at_once = min(self._config.processes or _places(self._config.device.name), len(missing))
        threads = max(1, (os.cpu_count() or 1) // at_once)
        log.info("%s: %d runs, %d of them to be trained, %d at a time", what, len(own), len(missing), at_once)
        configs = (pretraining_of(one, self._config, self._initial, self.folder(one)) for one in missing)
        tasks = [ProxyTask(config=pretraining, threads=threads) for pretraining in configs]

        def state() -> tuple[int, str]:
            done = sum(self.result(proxy) is not None for proxy in missing)
            return done, f"{done} of {len(missing)} runs"

        with LiveProgress(len(missing), state, what):
            run_each(_train_alone, tasks, at_once, _PRELOAD)
        self._tell(missing)

    def _tell(self, proxies: Sequence[Proxy]) -> None:
        results = [(proxy, self.result(proxy)) for proxy in proxies]
        for proxy, result in results:
            if result is not None and result.diverged is not None:
                log.warning("%s diverged and is left out: %s (%s)", proxy.name, result.diverged, self.folder(proxy))
        seconds = [result.seconds for _, result in results if result is not None]
        log.info("%d runs, %s each", len(seconds), duration(sum(seconds) / max(1, len(seconds))))


def _train_alone(task: ProxyTask, slot: int) -> None:
    with folder_lock(Path(task.config.output_dir)):
        train_proxy(task, slot)


def _places(device: str) -> int:
    """GPUs, or cores where there are none."""
    if device != "cpu":
        import torch

        if torch.cuda.is_available():
            return torch.cuda.device_count()
    return os.cpu_count() or 1


def as_json(proxy: Proxy, result: ProxyResult | None) -> dict[str, Any]:
    """A run and its result for mixture.json."""
    losses = {} if result is None else dict(result.losses)
    diverged = None if result is None else result.diverged
    return {**dataclasses.asdict(proxy), "losses": losses, "diverged": diverged}
