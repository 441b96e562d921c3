"""Which source each sample of a blend comes from, so that no source is ever a whole sample off its share.

After the first `n` samples every source `i` of weight `w_i` has given `c_i(n)` with `|c_i(n) - n w_i| < 1`.
Tijdeman ("The chairman assignment problem", Discrete Mathematics 32, 1980) proves that such sequences
exist; Steiner and Yeomans ("Level schedules for mixed-model, just-in-time processes", Management Science
39, 1993) find one by deadlines, which is what is done here. Picking the source with the largest deficit, as
is common, can break the bound from five sources on (the weights 50, 50, 3, 1 and 1 do).

The bound says that sample `j` (0, 1, ...) of source `i` must stand at a place in the window
`[floor(j / w_i), ceil((j + 1) / w_i))`. Windows inside a stretch [a, b) number at most
`sum_i floor(b w_i) - ceil(a w_i) <= b - a`, so that taking the earliest deadline among the open windows
(ties go to the first source) misses none; and `sum_i ceil(n w_i) >= n` windows open before place n, so that
there always is one to take.

Resuming: the order forgets its past. Priorities are fixed, so the number of samples with deadline <= d that
are placed before n follows from those placed before n' < n and the windows that open in between. All that
is placed before n' has a deadline of at most d' = n' + ceil(1 / w_min): for d >= d' the number is n' whatever
the sources were, and hence from place d' on nothing depends on them. So the state at n is found exactly by
starting ceil(1 / w_min) places earlier from any rounding of the shares, in O(sources) memory. Where the
weights have a common denominator A, all shares are whole at multiples of A, which may be closer.
"""

from collections.abc import Sequence
from fractions import Fraction
from heapq import heapify, heappop, heappush
from math import gcd, lcm


def integer_weights(weights: Sequence[float]) -> list[int]:
    """The smallest integers in the proportion of positive numbers, each taken as it is written in decimals."""
    fractions = [Fraction(str(weight)) for weight in weights]
    common = lcm(*(fraction.denominator for fraction in fractions))
    whole = [int(fraction * common) for fraction in fractions]
    divisor = gcd(*whole)
    return [weight // divisor for weight in whole]


class ScheduleCursor:
    """Walks the schedule of a blend; every place is a function of its number alone.

    Attributes:
        place: The number of samples placed so far, of all sources together.
        counts: The same for each source.
    """

    def __init__(self, weights: Sequence[int]) -> None:
        """Stands before the first sample.

        Args:
            weights: Positive integers; only their proportions count.
        """
        assert weights and min(weights) > 0, "weights are positive"
        self._weights = list(weights)
        self._total = sum(weights)
        self._memory = -(-self._total // min(weights))
        self._start(0)

    def next(self) -> tuple[int, int]:
        """Places one sample: its source, and its number among that source's samples."""
        waiting, ready = self._waiting, self._ready
        while waiting and waiting[0][0] <= self.place:
            heappush(ready, self._open(heappop(waiting)[1]))
        source = heappop(ready)[1]
        number = self.counts[source]
        self.counts[source] = number + 1
        self.place += 1
        heappush(waiting, ((number + 1) * self._total // self._weights[source], source))
        return source, number

    def seek(self, place: int) -> None:
        """Moves to any place, in at most ceil(1 / smallest share) steps of about a microsecond."""
        near = max(place - self._memory, place // self._total * self._total, 0)
        if not near <= self.place <= place:
            self._start(near)
        while self.place < place:
            self.next()

    def _open(self, source: int) -> tuple[int, int]:
        """The deadline of a source's next sample, with the source."""
        return -(-(self.counts[source] + 1) * self._total // self._weights[source]), source

    def _start(self, place: int) -> None:
        """Puts the counts to the shares at `place`, rounded; exact where these are whole."""
        self.place = place
        shares = [divmod(place * weight, self._total) for weight in self._weights]
        self.counts = [whole for whole, _ in shares]
        between = sorted(self._open(source) for source, (_, rest) in enumerate(shares) if rest)
        for _, source in between[: place - sum(self.counts)]:
            self.counts[source] += 1
        self._ready: list[tuple[int, int]] = []
        self._waiting = [
            (count * self._total // weight, source)
            for source, (count, weight) in enumerate(zip(self.counts, self._weights, strict=True))
        ]
        heapify(self._waiting)
