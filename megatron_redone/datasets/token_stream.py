"""A .bin/.idx dataset as an endless sequence of training samples that is never indexed.

Documents follow each other in one stream of tokens. Sample `i` of an epoch is the contiguous slice of
`seq_length + 1` tokens that starts at `i * seq_length`: neighbours share one token, the last label of
one and the first input of the next, so that every token but the first is a label once. The samples of
an epoch are shuffled by a keyed permutation, and epochs follow each other. So opening the stream costs
the same for any corpus, writes nothing, and a sample number is its whole state.
"""

import os

import numpy as np

from megatron_redone.config.data import DataConfig
from megatron_redone.datasets.blend import Blend
from megatron_redone.datasets.collating import Collate
from megatron_redone.datasets.document_borders import DocumentBorders
from megatron_redone.datasets.epochs import Epochs
from megatron_redone.datasets.validation import ValidationSet
from megatron_redone.datasets.vocabulary import Vocabulary
from megatron_redone.errors import UserError
from megatron_redone.formats.indexed import IndexedDataset
from megatron_redone.formats.manifest import check_files, read_manifest


class TokenStream:
    """The samples of one dataset.

    Attributes:
        samples_per_epoch: How many whole samples the dataset holds; the rest of its tokens is left out.
        token_count: Tokens of the dataset.
    """

    def __init__(
        self,
        prefix: str,
        *,
        seq_length: int,
        seed: int,
        shuffle: bool = True,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        """Opens the dataset.

        Args:
            prefix: Its path without .bin or .idx.
            seq_length: Tokens that a sample feeds to the model.
            seed: Chooses the order of the samples, together with the epoch.
            shuffle: Whether samples are shuffled; without it they come in file order.
            vocabulary: What the ids are checked against; None checks nothing.

        Raises:
            UserError: the dataset is missing or damaged, does not hold one sample, or does not fit the
                vocabulary.
        """
        self.prefix, self.seq_length = prefix, seq_length
        self._dataset = IndexedDataset(prefix, random_access=shuffle)
        self.token_count = self._dataset.token_count
        self.samples_per_epoch = (self.token_count - 1) // seq_length
        if self.samples_per_epoch < 1:
            raise UserError(
                f"{prefix}: {self.token_count:,} tokens are fewer than one sample of seq_length + 1 = "
                f"{seq_length + 1:,}; lower seq_length or take a larger dataset"
            )
        self._vocabulary = vocabulary
        if vocabulary is not None:
            vocabulary.check_manifest(prefix)
        bare = os.fspath(self._dataset.paths.bin)[:-4]
        check_files(bare, read_manifest(bare) or {}, "tokenize the corpus again")
        self._borders = DocumentBorders(self._dataset)
        self._sample_of = Epochs(self.samples_per_epoch, seed=seed, shuffle=shuffle)
        self._last = (-1, -1)  # the last number asked for and its position: borders are asked for after the tokens

    def position(self, number: int) -> int:
        """The token position at which sample `number` (0, 1, ... without end) starts."""
        if self._last[0] != number:
            self._last = (number, self._sample_of(number) * self.seq_length)
        return self._last[1]

    def tokens(self, number: int) -> np.ndarray:
        """The ids of sample `number`, `[seq_length + 1]` in the dataset's type.

        Raises:
            UserError: one of them is beyond the vocabulary.
        """
        start = self.position(number)
        tokens = self._dataset.read_tokens(start, self.seq_length + 1)
        if self._vocabulary is not None:
            self._vocabulary.check_ids(tokens, lambda index: f"{self.prefix}: {self._token_at(start + index)}")
        return tokens

    def document_starts(self, number: int) -> np.ndarray:
        """The positions in sample `number`, from 1 to `seq_length`, that begin a document: `int64[n]`, ascending."""
        start = self.position(number)
        return self._borders.inside(start, start + self.seq_length + 1) - start

    def close(self) -> None:
        """Closes the files."""
        self._dataset.close()
        self._borders.close()

    def _token_at(self, position: int) -> str:
        document, index = self._borders.document_at(position)
        return f"token {index:,} of document {document:,}"


def open_token_blend(config: DataConfig, vocabulary: Vocabulary | None = None) -> Blend[TokenStream]:
    """Opens the training blend of a configuration.

    Raises:
        UserError: a dataset is missing, damaged, too small, or was made for another vocabulary.
    """
    streams = [
        TokenStream(
            source.path, seq_length=config.seq_length, seed=config.seed, shuffle=config.shuffle, vocabulary=vocabulary
        )
        for source in config.blend
    ]
    return Blend(config.blend, streams)


def open_token_validation(
    config: DataConfig, collate: Collate, vocabulary: Vocabulary | None = None
) -> list[ValidationSet]:
    """Opens the validation sources of a configuration.

    Raises:
        UserError: a dataset is missing, damaged, too small, or was made for another vocabulary.
    """
    return [
        ValidationSet(
            source.label,
            TokenStream(source.path, seq_length=config.seq_length, seed=0, shuffle=False, vocabulary=vocabulary),
            config.validation_samples,
            collate,
        )
        for source in config.validation
    ]
