"""Random bits that belong to places in full weights: the same on any layout, device and number of threads.

The generator is SplitMix64 (Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, 2014), whose
number n is a mix of `key + n * gamma`: any number can be had without those before it. It is made of integer
operations of torch alone, which give the same bits on a CPU and on a GPU. A number serves four neighbouring columns.
"""

import hashlib

import torch

_GAMMA = 0x9E3779B97F4A7C15
_STAGES = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))
_LANES = 4  # draws of 16 bits in a number


def key_of(*parts: object) -> int:
    """A key of 64 bits for what is drawn: a seed, a purpose, the name of a full weight."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "little")


def random_bits(
    key: int, first: tuple[int, int], shape: tuple[int, int], width: int, device: torch.device
) -> torch.Tensor:
    """The 16 bits of every place in some rows and columns of a full weight, uniform over all 65,536 values.

    Args:
        key: See `key_of`.
        first: The first row and the first column.
        shape: How many rows and columns.
        width: The columns of the full weight, of which a vector has one.
        device: Where they are wanted.

    Returns:
        int16 [rows, columns]
    """
    row, column = first
    first_number, last_number = column // _LANES, -(-(column + shape[1]) // _LANES)
    numbers_a_row = -(-width // _LANES)
    start = key + (row * numbers_a_row + first_number) * _GAMMA
    rows = torch.arange(shape[0], device=device).mul_(_signed(numbers_a_row * _GAMMA)).add_(_signed(start))
    columns = torch.arange(last_number - first_number, device=device).mul_(_signed(_GAMMA))
    numbers = _mix(rows[:, None] + columns)  # integers wrap around in torch, on every device
    offset = column - first_number * _LANES
    return numbers.view(torch.int16)[:, offset : offset + shape[1]]


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
