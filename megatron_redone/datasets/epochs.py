"""An endless sequence of a dataset's samples, epoch after epoch."""

from megatron_redone.datasets.permutation import Permutation


class Epochs:
    """Says which of a dataset's samples is number 0, 1, 2, ... of a run, without end.

    Every epoch holds every sample once; shuffled, in an order that the seed and the epoch decide.
    """

    def __init__(self, samples: int, *, seed: int, shuffle: bool) -> None:
        """Takes the number of samples, at least 1; without `shuffle` they come in file order."""
        self.samples, self._seed, self._shuffle = samples, seed, shuffle
        self._epoch = -1
        self._order = Permutation(samples)  # that of `_epoch`, once a number of it has been asked for

    def __call__(self, number: int) -> int:
        """The sample, from 0 to before `samples`, that is number `number`."""
        epoch, place = divmod(number, self.samples)
        if not self._shuffle:
            return place
        if self._epoch != epoch:
            self._order, self._epoch = Permutation(self.samples, self._seed, epoch), epoch
        return self._order(place)
