"""Random bits that belong to places in full weights: the same on any layout, device and number of threads.

The generator is SplitMix64 (Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, 2014), whose
number n is a mix of `key + n * gamma`: any number can be had without those before it. It is made of integer
operations of torch alone, which give the same bits on a CPU and on a GPU. A number serves four neighbouring columns.
"""

import hashlib
from dataclasses import dataclass

import torch

_GAMMA = 0x9E3779B97F4A7C15
_STAGES = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))
_LANES = 4  # draws of 16 bits in a number


@dataclass(frozen=True, kw_only=True)
class Rectangle:
    """Rows and columns of a full weight, of which a vector has one column.

    Attributes:
        width: The columns of the full weight.
    """

    first_row: int
    last_row: int
    first_column: int
    last_column: int
    width: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.last_row - self.first_row, self.last_column - self.first_column


def key_of(*parts: object) -> int:
    """A key of 64 bits for what is drawn: a seed, a purpose, the name of a full weight."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "little")


def random_bits(key: int, rectangle: Rectangle, device: torch.device) -> torch.Tensor:
    """The 16 bits of every place of a rectangle: int16 [rows, columns], uniform over all 65,536 values."""
    first, last = rectangle.first_column // _LANES, -(-rectangle.last_column // _LANES)
    numbers_a_row = -(-rectangle.width // _LANES)
    start = rectangle.first_row * numbers_a_row + first
    rows = torch.arange(rectangle.shape[0], device=device).mul_(_signed(numbers_a_row * _GAMMA))
    columns = torch.arange(last - first, device=device).mul_(_signed(_GAMMA))
    # Integers wrap around in torch, on every device.
    numbers = _mix(rows.add_(_signed(key + start * _GAMMA))[:, None] + columns)
    offset = rectangle.first_column - first * _LANES
    return numbers.view(torch.int16)[:, offset : offset + rectangle.shape[1]]


def _mix(numbers: torch.Tensor) -> torch.Tensor:
    """The finalizer of SplitMix64, in place on int64."""
    shifted = torch.empty_like(numbers)
    for shift, factor in _STAGES:
        torch.bitwise_right_shift(numbers, shift, out=shifted)
        shifted.bitwise_and_((1 << (64 - shift)) - 1)  # torch shifts the sign in
        numbers.bitwise_xor_(shifted)
        if factor != 1:
            numbers.mul_(_signed(factor))
    return numbers


def _signed(value: int) -> int:
    """The int64 of the same 64 bits."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value
