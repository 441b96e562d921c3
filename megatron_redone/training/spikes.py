"""Which losses and gradient norms lie far above those of the steps before."""

import math
import statistics
from collections import deque
from collections.abc import Sequence

# The standard deviation of a normal distribution over its median absolute deviation.
_DEVIATIONS = 1.4826
# As long as fewer are known, nothing is a spike.
_LEAST_KNOWN = 20
# The smallest deviation that is believed: where losses hardly vary, 1 % more is no spike.
_LEAST_DEVIATION = 0.01


class Spikes:
    """A window over a positive figure. It compares logarithms, for losses and norms vary by factors."""

    def __init__(self, window: int, deviations: float, known: Sequence[float] = ()) -> None:
        """Takes what is compared.

        Args:
            window: How many figures are kept.
            deviations: How many robust deviations above the median a spike lies.
            known: Figures of the steps before, oldest first; the last `window` of them are kept.
        """
        self._known: deque[float] = deque(known, maxlen=window)
        self._deviations = deviations

    def height(self, figure: float) -> float | None:
        """By how many robust deviations a figure lies above the median; None where it is no spike."""
        if len(self._known) < _LEAST_KNOWN or figure <= 0:
            return None
        logarithms = [math.log(known) for known in self._known]
        median = statistics.median(logarithms)
        spread = statistics.median(abs(logarithm - median) for logarithm in logarithms)
        height = (math.log(figure) - median) / max(_DEVIATIONS * spread, _LEAST_DEVIATION)
        return height if height > self._deviations else None

    def add(self, figure: float) -> None:
        """Takes the figure of a step that was trained on."""
        if figure > 0 and math.isfinite(figure):
            self._known.append(figure)

    @property
    def known(self) -> list[float]:
        """The figures in the window, oldest first."""
        return list(self._known)
