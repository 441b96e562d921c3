"""What a rank holds of the tensors of a checkpoint."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from megatron.core.fp8_utils import dequantize_fp8_tensor, is_float8tensor

from megatron_redone.checkpoint.rectangles import Rectangle, cut


@dataclass(frozen=True, kw_only=True)
class Values:
    """A range of the elements of a rank's parameter, or of optimizer state that lies as it does.

    Attributes:
        parts: The rectangles of full tensors that the whole parameter consists of.
        tensor: Holds them: contiguous, in any shape, on any device.
        origin: The element of the flattened parameter with which `tensor` begins.
        first: The first element that is meant, of the flattened parameter.
        last: One past the last.
    """

    parts: tuple[Rectangle, ...]
    tensor: torch.Tensor
    origin: int
    first: int
    last: int

    @property
    def nbytes(self) -> int:
        """Their bytes."""
        return (self.last - self.first) * self.tensor.dtype.itemsize

    def elements(self) -> torch.Tensor:
        """Those that are meant [last - first]: their memory; of FP8 weights a copy that is not FP8."""
        # A checkpoint holds them as a layout or backend without FP8 does.
        plain = dequantize_fp8_tensor(self.tensor) if is_float8tensor(self.tensor) else self.tensor
        return plain.detach().view(-1)[self.first - self.origin : self.last - self.origin]

    def pieces(self) -> Iterator[tuple[Rectangle, torch.Tensor]]:
        """Each rectangle, and the memory [n] of its elements, as `elements` gives it."""
        if self.first == self.last:
            return
        flat = self.elements()
        for part in self.parts:
            for piece in cut(part, self.first, self.last):
                yield piece, flat[piece.first - self.first :][: piece.count]


def whole(parts: tuple[Rectangle, ...], tensor: torch.Tensor) -> Values:
    """All elements of a parameter."""
    return Values(parts=parts, tensor=tensor, origin=0, first=0, last=tensor.numel())


def a_range(parts: tuple[Rectangle, ...], tensor: torch.Tensor, first: int) -> Values:
    """The elements of a parameter from one on, as many as a tensor holds."""
    return Values(parts=parts, tensor=tensor, origin=first, first=first, last=first + tensor.numel())


def renamed(values: Values, prefix: str) -> Values:
    """The same of other full tensors, whose keys have something before them."""
    parts = tuple(dataclasses.replace(part, key=prefix + part.key) for part in values.parts)
    return dataclasses.replace(values, parts=parts)


def share(values: Sequence[Values], rank: int, size: int) -> list[Values]:
    """Of values that so many ranks hold alike, what one of them writes: the same number of bytes each."""
    total = sum(entry.nbytes for entry in values)
    begin, end, at = total * rank // size, total * (rank + 1) // size, 0
    mine = []
    for entry in values:
        first, last = (_element(entry, border - at) for border in (begin, end))
        if first < last:
            mine.append(dataclasses.replace(entry, first=first, last=last))
        at += entry.nbytes
    return mine


def _element(values: Values, byte: int) -> int:
    """The first element that begins at a byte of the values or behind it."""
    behind = -(-byte // values.tensor.dtype.itemsize)
    return values.first + min(max(behind, 0), values.last - values.first)
