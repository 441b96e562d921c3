"""The line that a person watches a run by."""

from collections.abc import Callable, Mapping
from typing import TextIO

VALIDATION = "validation/"
"""Metrics of validation are called `validation/SOURCE/NAME`."""


def duration(seconds: float) -> str:
    """`4:05`, `1:04:05` or `2d 01:04`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d {hour:02d}:{minute:02d}"
    return f"{hour}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def scaled(number: float) -> str:
    """Four characters or five, as in `987`, `12.3k` or `4.56M`."""
    for suffix in ("", "k", "M", "G"):
        if number < 999.5:
            digits = 0 if number >= 99.95 or not suffix else 1 if number >= 9.995 else 2
            return f"{number:.{digits}f}{suffix}"
        number /= 1000
    return f"{number:.0f}T"


def _operations(number: float) -> str:
    text = scaled(number)
    return f"{text[:-1]:>4} {text[-1]}FLOP/s"


# Name of the metric, and how a line shows it; the widths hold for the values that runs have.
_COLUMNS: list[tuple[str, Callable[[float], str]]] = [
    ("loss", lambda value: f"loss {value:7.4f}"),
    ("grad_norm", lambda value: f"grad norm {value:8.3f}"),
    ("learning_rate", lambda value: f"lr {value:.2e}"),
    ("tokens_per_second", lambda value: f"{scaled(value):>5} tokens/s"),
    ("mfu", lambda value: f"{100 * value:4.1f}% MFU"),
    ("tflops_per_device", lambda value: _operations(value * 1e12)),
    ("memory_gb", lambda value: f"{value:5.1f} GB"),
    ("seconds_left", lambda value: f"{duration(value):>8} left"),
]
_SILENT = {"seconds_per_step", "consumed_samples", "consumed_tokens", "epoch"}


def progress_line(step: int, train_steps: int, metrics: Mapping[str, float]) -> str:
    """One line, aligned with those before and after it.

    The usual metrics stand first, in one order, as far as they are there: utilisation hides the bare
    operations a second. Others follow by name; those of validation stand alone.
    """
    head = f"step {step:>{len(str(train_steps))}}/{train_steps}"
    validation = {name: value for name, value in metrics.items() if name.startswith(VALIDATION)}
    if validation:
        columns = [f"{name.removeprefix(VALIDATION)} {value:.4f}" for name, value in validation.items()]
        return "  ".join([head, "validation", *columns])
    hidden = _SILENT | ({"tflops_per_device"} if "mfu" in metrics else set())
    shown = [show(metrics[name]) for name, show in _COLUMNS if name in metrics and name not in hidden]
    known = hidden | {name for name, _ in _COLUMNS}
    others = [f"{name} {value:.4g}" for name, value in metrics.items() if name not in known and "/" not in name]
    return "  ".join([head, *shown, *others])


class ConsoleTracker:
    """Prints a line at every report."""

    def __init__(self, stream: TextIO, train_steps: int) -> None:
        """Takes where to print, and the number of the last step."""
        self._stream, self._train_steps = stream, train_steps

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Prints the metrics of one step."""
        print(progress_line(step, self._train_steps, metrics), file=self._stream, flush=True)

    def close(self) -> None:
        """The stream is not ours."""
