"""A TRL trainer as a side of a comparison: one optimizer step a turn."""

from collections.abc import Callable
from typing import Any, TextIO

from transformers import TrainerCallback

from tools.benchmarks.side_by_side import Stopwatch, answer, asked


class Turns(TrainerCallback):
    """Holds the trainer before every step until it is asked for, and tells what the step took.

    The batch is collated before and the clock starts after that: loading counts on no side.
    """

    def __init__(self, channel: TextIO, trainer: Any, figure: str, count: Callable[[dict[str, Any]], int]) -> None:
        """Takes where answers go, and what a step is counted by: the figure's name, and its value for a batch."""
        self._channel, self._figure, self._count = channel, figure, count
        self._watch, self._counted, self._losses = Stopwatch(), 0, []
        self._training_step = trainer.training_step
        trainer.training_step = self._counting
        trainer.add_callback(self)

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Waits."""
        if not asked():
            raise SystemExit(0)
        self._watch, self._counted, self._losses = Stopwatch(), 0, []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Answers."""
        took = self._watch.read()
        answer(self._channel, {**took, self._figure: self._counted, "loss": sum(self._losses)})

    def _counting(self, model: Any, inputs: dict[str, Any], *rest: Any) -> Any:
        self._counted += self._count(inputs)
        loss = self._training_step(model, inputs, *rest)
        self._losses.append(float(loss))
        return loss
