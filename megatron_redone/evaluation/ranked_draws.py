"""Sums over examples that are ranked by a score, for many draws at once; equal scores stay together."""

import numpy as np

_ROUNDING = 1e-9  # of a share of up to a hundred million examples; 0.55 * 100 is more than 55 in float64


def reaches(precision: float, hits: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Whether hits are this share of what is taken, rounding aside; never where nothing is taken.

    Args:
        precision: The share.
        hits: float64 of any shape.
        taken: float64 of the same shape.
    """
    return (taken > 0) & (hits >= precision * taken * (1 - _ROUNDING))


class RankedDraws:
    """Examples in order of their scores, the highest first.

    Attributes:
        order: Their numbers, int64 [N].
    """

    def __init__(self, scores: np.ndarray) -> None:
        """Ranks them.

        Args:
            scores: float64 [N].
        """
        self.order = np.argsort(-scores, kind="stable")
        self._places = np.argsort(self.order)
        self._starts = np.flatnonzero(np.diff(scores[self.order], prepend=np.nan) != 0)

    def sums(self, chosen: np.ndarray, *columns: np.ndarray) -> list[np.ndarray]:
        """What the drawn examples of each score come to, once for each time that they are drawn.

        Args:
            chosen: Numbers of examples, int64 [R, N].
            columns: A value an example, float64 [N] in the order of the examples.

        Returns:
            float64 [R, G] for each column, of G different scores, the highest first.
        """
        draws, count = len(chosen), len(self.order)
        drawn = self._places[chosen] + count * np.arange(draws)[:, None]
        times = np.bincount(drawn.ravel(), minlength=draws * count).reshape(draws, count)
        return [self._summed(times * column[self.order]) for column in columns]

    def _summed(self, values: np.ndarray) -> np.ndarray:
        alone = len(self._starts) == values.shape[1]
        return values if alone else np.add.reduceat(values, self._starts, axis=1)
