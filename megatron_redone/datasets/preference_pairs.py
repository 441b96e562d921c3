"""The pairs of one dataset, epoch after epoch, with what a loss must know of each."""

from dataclasses import dataclass

import numpy as np

from megatron_redone.config.preference_data import TooLongPair
from megatron_redone.datasets.epochs import Epochs
from megatron_redone.datasets.row_writer import MaskedSequence
from megatron_redone.datasets.vocabulary import Vocabulary
from megatron_redone.errors import UserError
from megatron_redone.formats.preferences import CHOSEN, REJECTED, PreferenceDataset
from megatron_redone.formats.reference_scores import ReferenceScores


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One pair.

    Attributes:
        number: In its dataset.
        chosen: Prompt and chosen response, and which tokens are the response's.
        rejected: The same of the rejected response.
        shared: Tokens at the beginning of both that a row holds once; 0 where nothing is shared.
        reference: float32 [2], log-probability of chosen and rejected under the reference; zeros without one.
        rewards: float32 [2], how good each is; zeros where the records have none.
    """

    number: int
    chosen: MaskedSequence
    rejected: MaskedSequence
    shared: int
    reference: np.ndarray
    rewards: np.ndarray


class PairStream:
    """The pairs of one dataset.

    Attributes:
        samples_per_epoch: Pairs that fit a row.
        dropped: Pairs that do not.
        has_rewards: Whether the records say how good each response is.
    """

    def __init__(
        self,
        prefix: str,
        *,
        seq_length: int,
        share_prompt: bool = False,
        too_long: TooLongPair = TooLongPair.drop,
        seed: int = 0,
        shuffle: bool = False,
        vocabulary: Vocabulary | None = None,
        reference: ReferenceScores | None = None,
    ) -> None:
        """Opens a dataset.

        Args:
            prefix: Its path without suffix.
            seq_length: Tokens that a row may hold.
            share_prompt: Whether a row holds the prompt of a pair once.
            too_long: What becomes of pairs that do not fit.
            seed: Chooses the order of the pairs, together with the epoch.
            shuffle: Whether they are shuffled.
            vocabulary: What the ids are checked against; None checks nothing.
            reference: Already checked to belong to the dataset.

        Raises:
            UserError: the dataset is missing or damaged, was made for another tokenizer, or no pair fits.
        """
        self.prefix = prefix
        if vocabulary is not None:
            vocabulary.check_manifest(prefix)
        self._dataset, self._vocabulary, self._reference = PreferenceDataset.open(prefix), vocabulary, reference
        self._share = share_prompt
        self._slots = self._count_slots()
        self._kept = np.flatnonzero(self._slots <= seq_length)
        self.dropped = self._dataset.pairs - len(self._kept)
        if self.dropped and too_long is TooLongPair.refuse:
            raise UserError(f"{prefix}: {self.dropped:,} pairs are longer than seq_length {seq_length:,}; raise it")
        if not len(self._kept):
            raise UserError(f"{prefix}: no pair fits seq_length {seq_length:,}; raise it")
        self.samples_per_epoch = len(self._kept)
        self._kept_of = Epochs(len(self._kept), seed=seed, shuffle=shuffle)

    @property
    def pairs(self) -> int:
        """Pairs of the dataset, those that do not fit included."""
        return self._dataset.pairs

    @property
    def digest(self) -> str:
        """Changes when a byte of the dataset does."""
        return self._dataset.fingerprint

    @property
    def has_rewards(self) -> bool:
        """Whether the records say how good each response is."""
        return self._dataset.rewards is not None

    def slots(self, number: int) -> int:
        """Slots that sample `number` (0, 1, ... without end) takes in a row."""
        return int(self._slots[self._pair_of(number)])

    def pair(self, number: int) -> Pair:
        """Sample `number`.

        Raises:
            UserError: an id is beyond the vocabulary, or a response has no token.
        """
        pair = self._pair_of(number)
        rewards = self._dataset.rewards
        return Pair(
            number=pair,
            chosen=self._side(pair, CHOSEN),
            rejected=self._side(pair, REJECTED),
            shared=self._shared(pair) if self._share else 0,
            reference=np.zeros(2, np.float32) if self._reference is None else self._reference.sums[pair],
            rewards=np.zeros(2, np.float32) if rewards is None else np.asarray(rewards[pair]),
        )

    def describe(self) -> str:
        """What became of the pairs, in a line."""
        left_out = f" (too long: {self.dropped:,} left out)" if self.dropped else ""
        return f"{self.samples_per_epoch:,} pairs, {self._slots[self._kept].mean():.0f} tokens each{left_out}"

    def close(self) -> None:
        """Closes the files."""
        self._dataset.close()

    def _pair_of(self, number: int) -> int:
        return int(self._kept[self._kept_of(number)])

    def _count_slots(self) -> np.ndarray:
        # The last token of a sequence is a label and no input.
        slots = self._dataset.lengths.astype(np.int64).sum(1) - 2
        if self._share:
            slots -= np.array([self._shared(pair) for pair in range(self._dataset.pairs)], np.int64)
        return slots

    def _shared(self, pair: int) -> int:
        """All tokens of the prompt but its last, from which both responses are predicted."""
        first = [int(np.argmax(self._dataset.loss_mask(pair, side))) for side in (CHOSEN, REJECTED)]
        return max(first[0] - 1, 0) if first[0] == first[1] else 0

    def _side(self, pair: int, side: int) -> MaskedSequence:
        tokens, mask = self._dataset.tokens(pair, side), self._dataset.loss_mask(pair, side)
        if self._vocabulary is not None:
            self._vocabulary.check_ids(tokens, lambda index: f"{self.prefix}: token {index:,} of pair {pair:,}")
        if not mask[1:].any():
            raise UserError(f"{self.prefix}: pair {pair:,} has an empty response; prepare the data again")
        return tokens, mask
