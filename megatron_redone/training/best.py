"""The callback that keeps the checkpoint which validates best."""

import logging
import math
from collections.abc import Sequence

from megatron_redone.config.checkpoint import CheckpointConfig
from megatron_redone.distributed.collectives import errors_stop_all_ranks
from megatron_redone.errors import UserError
from megatron_redone.metrics.progress import VALIDATION
from megatron_redone.training.loop import FinishedStep
from megatron_redone.training.saving import Saver
from megatron_redone.training.validator import Validator

log = logging.getLogger(__name__)

_MORE_IS_BETTER = ("accuracy", "margin")


def check_best_metric(config: CheckpointConfig, sources: Sequence[str]) -> None:
    """Refuses a metric of a source that is not validated.

    Raises:
        UserError: naming the sources.
    """
    if config.best_metric is None:
        return
    known = [f"{VALIDATION}{source}/" for source in sources]
    if not any(config.best_metric.startswith(prefix) for prefix in known):
        names = ", ".join(f"{prefix}loss" for prefix in known) or "none: data.validation is empty"
        raise UserError(f"checkpoint.best_metric: '{config.best_metric}' is not validated; such metrics are {names}")


class BestSaver:
    """Saves a checkpoint that validates better than all before, unless it is saved already, and marks it."""

    def __init__(self, config: CheckpointConfig, saver: Saver, validator: Validator) -> None:
        """Takes what saves and what validates, which are called before it."""
        assert config.best_metric is not None
        self._metric, self._saver, self._validator = config.best_metric, saver, validator

    def after_step(self, step: FinishedStep) -> None:
        """Compares, where the step was validated."""
        metrics = self._validator.metrics_of(step.state.step)
        if not metrics:
            return
        value = metrics.get(self._metric)
        if value is None:
            with errors_stop_all_ranks():
                raise UserError(f"checkpoint.best_metric: no metric '{self._metric}'; there are {', '.join(metrics)}")
        if not self._is_best(value):
            return
        self._saver.save_as_best(step.state, self._metric, value)
        log.info("best so far: step %d, %s %.4f", step.state.step, self._metric, value)

    def _is_best(self, value: float) -> bool:
        if math.isnan(value):
            return False  # nothing compares with it: it would stay the best for ever
        best = self._saver.best
        if best is None or math.isnan(best):
            return True
        is_more_better = self._metric.rpartition("/")[2] in _MORE_IS_BETTER
        return value > best if is_more_better else value < best
