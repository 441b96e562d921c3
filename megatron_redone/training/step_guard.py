"""Decides about each step, between its gradients and its change of the weights, whether it went wrong."""

import logging
import math
from collections import deque

from megatron_redone.config.guards import GuardConfig, OnBadStep
from megatron_redone.distributed.collectives import errors_stop_all_ranks
from megatron_redone.errors import UserError
from megatron_redone.training.samples import SampleRange
from megatron_redone.training.spikes import Spikes

log = logging.getLogger(__name__)

_NOT_FINITE = "numbers that are not finite"
_TOLD = {
    OnBadStep.tell: "trained on all the same (guards.on_spike=tell)",
    OnBadStep.skip: "skipped",
    OnBadStep.rollback: "going back to the newest checkpoint, these samples left out",
}


class StepGuard:
    """Judges by figures that all ranks share already, so that all decide the same without asking each other."""

    def __init__(self, config: GuardConfig, recent: dict[str, list[float]]) -> None:
        """Takes what is done about what, and the figures of the steps before; see `recent`."""
        self._config = config
        self._spikes = {
            name: Spikes(config.spike_window, config.spike_deviations or math.inf, recent.get(name, ()))
            for name in ("loss", "grad_norm")
        }
        self._firsts: deque[int] = deque(maxlen=config.left_out_steps)
        self._fault: str | None = None
        self._reaction = OnBadStep.tell

    def judge(self, loss: float, grad_norm: float, finite: bool) -> str | None:
        """Why the weights are to stay as they are; None where they may change.

        Args:
            loss: Of the step, over all ranks; NaN where the batch had nothing to learn from.
            grad_norm: Of all gradients, before clipping.
            finite: Whether all numbers are.
        """
        figures = {"loss": loss, "grad_norm": grad_norm}
        self._fault = self._spike(figures) if finite else _NOT_FINITE
        self._reaction = self._config.on_spike if finite else OnBadStep[self._config.on_not_finite.name]
        if self._fault is not None and self._reaction is not OnBadStep.tell:
            return self._fault
        for name, spikes in self._spikes.items():
            spikes.add(figures[name])
        return None

    def _spike(self, figures: dict[str, float]) -> str | None:
        for name, spikes in self._spikes.items():
            height = spikes.height(figures[name])
            if height is not None:
                return f"a spike ({name} {figures[name]:.4g}, {height:.0f} robust deviations above the steps before)"
        return None

    def settle(self, step: int, samples: SampleRange) -> SampleRange | None:
        """Tells of a step that went wrong. For all ranks, after every step.

        Args:
            step: Its number.
            samples: What it read.

        Returns:
            What is to be left out after going back; None where the run goes on.

        Raises:
            UserError: the run is to stop.
        """
        self._firsts.append(samples.first)
        if self._fault is None:
            return None
        what = f"step {step}: {self._fault} in samples {samples.first} to {samples.last}"
        with errors_stop_all_ranks():
            if self._reaction is OnBadStep.stop:
                key = "not_finite" if self._fault == _NOT_FINITE else "spike"
                raise UserError(f"{what}; mend the data, or let guards.on_{key} be skip or rollback")
        log.warning("%s: %s", what, _TOLD[self._reaction])
        return SampleRange(self._firsts[0], samples.last) if self._reaction is OnBadStep.rollback else None

    @property
    def recent(self) -> dict[str, list[float]]:
        """The figures that the next step is compared with, by name: what a checkpoint remembers."""
        return {name: spikes.known for name, spikes in self._spikes.items()}
