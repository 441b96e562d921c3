"""PREFIX.reference.safetensors: what a reference model thinks of a dataset of preference pairs.

sums      float32 [pairs, 2]   log-probability of the chosen and of the rejected response, in nats
lengths   int32 [pairs, 2]     tokens that each sum is over
metadata  the fingerprints of the data and of the model, how many pairs are done, and a checksum of all that
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from megatron_redone.errors import UserError
from megatron_redone.formats.atomic import atomic_file
from megatron_redone.formats.safetensors_header import safetensors_header
from megatron_redone.hashing import short_hash

_FORMAT = "megatron_redone.reference/1"
_STAGE = "score-reference"


@dataclass(frozen=True, kw_only=True)
class ReferenceScores:
    """The scores of one dataset.

    Attributes:
        data: Fingerprint of the dataset.
        model: Fingerprint of the reference model's weights.
        done: Pairs from the first on that have been scored.
        sums: float32 [pairs, 2].
        lengths: int32 [pairs, 2].
    """

    data: str
    model: str
    done: int
    sums: np.ndarray
    lengths: np.ndarray

    @property
    def is_complete(self) -> bool:
        """Whether every pair has been scored."""
        return self.done == len(self.sums)


def reference_path(prefix: str, label: str, folder: str | None = None) -> Path:
    """Where the scores of a dataset lie: beside it, or under its label in a folder."""
    return Path(f"{prefix if folder is None else Path(folder) / label}.reference.safetensors")


def write_reference(path: Path, scores: ReferenceScores) -> None:
    """Writes scores, complete or not; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = {"data": scores.data, "model": scores.model, "done": str(scores.done)}
    metadata = {"format": _FORMAT, **facts, "seal": _seal(scores)}
    parts = {
        "sums": ("F32", np.ascontiguousarray(scores.sums, "<f4")),
        "lengths": ("I32", np.ascontiguousarray(scores.lengths, "<i4")),
    }
    tensors = [(name, dtype, numbers.shape, numbers.nbytes) for name, (dtype, numbers) in parts.items()]
    with atomic_file(path, "wb") as stream:
        stream.write(safetensors_header(metadata, tensors))
        for _, numbers in parts.values():
            stream.write(numbers.data)


def read_reference(path: Path) -> ReferenceScores | None:
    """The scores of a file, or None where there is none.

    Raises:
        UserError: the file is damaged, or something else.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise UserError(f"{path}: not a file of `redone {_STAGE}` ({_FORMAT}); remove it")
            scores = ReferenceScores(
                data=metadata["data"],
                model=metadata["model"],
                done=int(metadata["done"]),
                sums=file.get_tensor("sums"),
                lengths=file.get_tensor("lengths"),
            )
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise UserError(f"{path}: not readable ({error}); remove it and run `redone {_STAGE}` again") from None
    if metadata.get("seal", _seal(scores)) != _seal(scores):  # earlier versions wrote none
        raise UserError(f"{path}: damaged, its checksum differs; remove it and run `redone {_STAGE}` again")
    return scores


def _seal(scores: ReferenceScores) -> str:
    numbers = hashlib.sha256(scores.sums.tobytes() + scores.lengths.tobytes()).hexdigest()
    return short_hash([scores.data, scores.model, scores.done, numbers])


def check_reference(path: Path, scores: ReferenceScores | None, data: str, pairs: int, model: str | None) -> None:
    """Refuses scores that are missing, unfinished, not numbers, or of other data or another model.

    Args:
        path: Of the file, for the message.
        scores: What was read.
        data: Fingerprint of the dataset.
        pairs: Of the dataset.
        model: Fingerprint of the reference model; None accepts any.
    """
    again = f"run `redone {_STAGE}` on it"
    if scores is None:
        raise UserError(f"{path}: there are no reference scores for this dataset; {again}")
    if scores.data != data or len(scores.sums) != pairs:
        raise UserError(f"{path}: the scores belong to other data (they are of {scores.data}, it is {data}); {again}")
    if model is not None and scores.model != model:
        raise UserError(
            f"{path}: the scores are of another model ({scores.model}) than this run's reference ({model}); {again}"
        )
    if not scores.is_complete:
        raise UserError(f"{path}: only {scores.done:,} of {pairs:,} pairs have been scored; {again}, it goes on")
    bad = np.flatnonzero(~np.isfinite(scores.sums).all(1) | (scores.lengths < 1).any(1))
    if len(bad):
        raise UserError(
            f"{path}: {len(bad):,} pairs have a score that is not a number or a response without tokens, the first is "
            f"pair {bad[0]:,}; look at it, then remove the file and {again}"
        )
